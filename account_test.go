package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/proto"
)

// The closing account says what spent the dump budget before traffic, what a workload cost in bytes, and what was harvested.
func TestPrintAccount(t *testing.T) {
	t.Parallel()
	a := &coordinator.Account{Collection: "c-1", State: "done", TraceDir: "/set"}
	a.Total = coordinator.Total{Dumps: 12, Plans: 5, Rejected: map[string]int{"before_traffic": 3}, Workloads: 4, BeforeTraffic: 7,
		NewWorkloads: 4, BytesSeen: 8_000_000, Harvested: 2}
	var out bytes.Buffer
	printAccount(&out, a)
	for _, want := range []string{"8.0 MB of dumps (2.0 MB a workload gained)", "2 definitions harvested; `tracefleet definitions harvest --job c-1 --out harvest-c-1` "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	rows := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		rows[strings.Join(strings.Fields(line), " ")] = true
	}
	if !rows["7 of them before traffic made by warm-up, autotune or capture: they spent dump budget, and none is a workload"] || !rows["3 rejected before_traffic"] {
		t.Errorf("what came before traffic is not told in\n%s", out.String())
	}

	a.Total.BeforeTraffic, a.Total.NewWorkloads, a.Total.Harvested = 0, 0, 0
	out.Reset()
	printAccount(&out, a)
	for _, not := range []string{"of them before traffic", "a workload gained", "harvested"} {
		if strings.Contains(out.String(), not) {
			t.Errorf("%q though there is none:\n%s", not, out.String())
		}
	}
}

// What is said of simulated and of recorded calls is said only where there are such calls.
func TestPrintAccount_LabelsOfCalls_OnlyOfCallsThatAreThere(t *testing.T) {
	t.Parallel()
	const marked, recorded = "These workloads are marked so", "recorded calls: engine sglang (stated by the user)"
	for _, tc := range []struct {
		name  string
		total coordinator.Total
		want  []string
		not   []string
	}{
		{"workloads", coordinator.Total{Dumps: 3, Workloads: 3, NewWorkloads: 3}, []string{marked, recorded}, nil},
		{"nothing new", coordinator.Total{Dumps: 3, Duplicates: 3}, []string{"SIMULATED: no GPU ran.\n", recorded}, []string{marked}},
		{"no dumps", coordinator.Total{}, []string{"SIMULATED: no GPU ran.\n"}, []string{marked, recorded}},
	} {
		var out bytes.Buffer
		printAccount(&out, &coordinator.Account{
			Collection: "c-1", State: "done", TraceDir: "/set", Total: tc.total, Simulated: true,
			Recorded: []coordinator.RecordedCalls{{Engine: "sglang", Stated: []string{proto.StatedEngine}}},
		})
		for _, want := range tc.want {
			require.Contains(t, out.String(), want, tc.name)
		}
		for _, not := range tc.not {
			require.NotContains(t, out.String(), not, tc.name)
		}
	}
}

// Throughput is told per engine where tokens were counted, and alone where nothing was dumped.
func TestPrintAccount_Tokens(t *testing.T) {
	t.Parallel()
	a := &coordinator.Account{Collection: "c-1", State: "done", TraceDir: "/set", Definitions: []coordinator.DefinitionAccount{{Name: "norm"}}}
	for _, tc := range []struct {
		total coordinator.Total
		want  string // none: no line of it
		table bool
	}{
		{coordinator.Total{Tokens: 3000, ServeSeconds: 2.5}, "served in 2.5s: 3000 tokens, 1200 tokens/s an engine\n", false},
		{coordinator.Total{Tokens: 3000, ServeSeconds: 2.5, Dumps: 1, Plans: 1}, "served in 2.5s: 3000 tokens, 1200 tokens/s an engine\n", true},
		{coordinator.Total{ServeSeconds: 2.5, Dumps: 1, Plans: 1}, "", true}, // the engine does not count
		{coordinator.Total{Tokens: 3000}, "", false},
	} {
		var out bytes.Buffer
		a.Total = tc.total
		printAccount(&out, a)
		if text := out.String(); !strings.Contains(text, tc.want) || strings.Contains(text, "tokens/s") != (tc.want != "") || strings.Contains(text, "DUMPS") != tc.table {
			t.Errorf("%+v:\n%s", tc.total, text)
		}
	}
}

// Of one thing it is told as of one.
func TestPrintPush_One(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{
		1: "is a draft: 1 workload in 1 commit, 5 B sent; not evaluated; 1 warning, in its text\n",
		2: "is a draft: 2 workloads in 2 commits, 5 B sent; not evaluated; 2 warnings, in its text\n",
	} {
		var out bytes.Buffer
		p := &coordinator.PushAccount{Definition: "norm", URL: "https://hub/1", Workloads: n, Commits: n, Bytes: 5}
		p.Warnings = append(p.Warnings, make([]string, n)...)
		printPush(&out, p)
		if !strings.HasSuffix(out.String(), want) {
			t.Errorf("%d: %s", n, out.String())
		}
	}
}
