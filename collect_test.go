package main

import (
	"io"
	"reflect"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/tracefleet/tracefleet/coordinator"
)

// The flags' defaults, which --help shows, and DefaultRequest, which the coordinator's tests plan with, are the same.
func TestCollect_DefaultsAreTheCoordinators(t *testing.T) {
	t.Parallel()
	var a app
	parser, err := kong.New(&a, kong.Writers(io.Discard, io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"collect", "--trace-dir", "."}); err != nil {
		t.Fatal(err)
	}
	got, err := a.Collect.request()
	if err != nil {
		t.Fatal(err)
	}
	if want := coordinator.DefaultRequest(); !reflect.DeepEqual(got, want) {
		t.Errorf("flags give\n%+v, DefaultRequest\n%+v", got, want)
	}
}
