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

func TestExpandPassed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		in   []string
		want []string
	}{
		{"a flag", []string{"collect", "--extra", "--page-size", "--isl", "9"}, []string{"collect", "--extra=--page-size", "--isl", "9"}},
		{"a flag and its value", []string{"--extra", "--page-size", "64"}, []string{"--extra=--page-size", "--extra=64"}},
		{"commas stay", []string{"--extra", "--json", `{"a":1,"b":2}`}, []string{"--extra=--json", `--extra={"a":1,"b":2}`}},
		{"joined stays", []string{"--extra=--page-size 64", "x"}, []string{"--extra=--page-size 64", "x"}},
		{"several in quotes", []string{"--extra", "--a 1", "--b 2", "--out=/my dir", "--isl", "9"}, []string{"--extra=--a 1", "--extra=--b 2", "--out=/my dir", "--isl", "9"}},
		{"several in quotes", []string{"--extra", "--a 1", "--b 2", "--out=/my dir", "--isl", "9"}, []string{"--extra=--a 1", "--extra=--b 2", "--out=/my dir", "--isl", "9"}},
		{"nothing after", []string{"--extra"}, []string{"--extra"}},
		{"after a bare --", []string{"--", "--extra", "--a"}, []string{"--", "--extra", "--a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := ExpandPassed(tc.in, "extra"); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
