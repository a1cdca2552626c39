package cli

import (
	"slices"
	"testing"
)

func TestExpandLists(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{"spaces", []string{"collect", "--batch-sizes", "64", "128", "--isl", "9"}, []string{"collect", "--batch-sizes=64,128", "--isl", "9"}},
		{"commas", []string{"--batch-sizes", "64,128"}, []string{"--batch-sizes=64,128"}},
		{"joined and more", []string{"--batch-sizes=64", "128"}, []string{"--batch-sizes=64,128"}},
		{"at the end", []string{"--definitions", "a", "b"}, []string{"--definitions=a,b"}},
		{"nothing after", []string{"--definitions", "--all"}, []string{"--definitions", "--all"}},
		{"other flags keep their values", []string{"--isl", "64", "128"}, []string{"--isl", "64", "128"}},
		{"after a bare --", []string{"--", "--definitions", "a", "b"}, []string{"--", "--definitions", "a", "b"}},
		{"one dash is no list", []string{"-definitions", "a"}, []string{"-definitions", "a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := ExpandLists(tc.in, "batch-sizes", "definitions"); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
