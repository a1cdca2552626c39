package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

const (
	decodeDef = "gqa_paged_decode_h32_kv8_d128_ps1"
	pagedDef  = "gqa_paged_prefill_causal_h32_kv8_d128_ps1"
	raggedDef = "gqa_ragged_prefill_causal_h32_kv8_d128"
	normDef   = "rmsnorm_h4096"

	decodeClass = "BatchDecodeWithPagedKVCacheWrapper"
)

// sanitized is what sanitize made of a dump directory.
type sanitized struct {
	code   int
	report sanitizeReport
	stderr string
	files  map[string]string // the dataset's workloads and blobs
}

// sanitizing converts dumps for definitions of the project's dataset. Not for parallel tests: the command sets the collector.
func sanitizing(t *testing.T, dumps string, defs []string, flags ...string) sanitized {
	t.Helper()
	dataset := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dataset, "definitions"), os.DirFS("testdata/dataset/definitions")))
	args := slices.Concat([]string{"sanitize", "--json", "--max-new-workloads", "1000", "--dump-dir", dumps, "--flashinfer-trace-dir", dataset, "--definitions"}, defs, flags)
	var out, errs bytes.Buffer
	s := sanitized{code: run(args, &out, &errs), files: map[string]string{}}
	s.stderr = errs.String()
	if out.Len() > 0 {
		require.NoError(t, json.Unmarshal(out.Bytes(), &s.report), "%s", out.String())
	}
	require.NoError(t, filepath.WalkDir(dataset, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dataset, path)
		if err == nil && d.Type().IsRegular() && (strings.HasPrefix(name, "workloads") || strings.HasPrefix(name, "blob")) {
			var data []byte
			data, err = os.ReadFile(path)
			s.files[name] = string(data)
		}
		return err
	}))
	return s
}

// lines gives how many workloads each definition has.
func (s sanitized) lines() map[string]int {
	n := map[string]int{}
	for name, text := range s.files {
		if def, ok := strings.CutSuffix(filepath.Base(name), ".jsonl"); ok {
			n[def] = strings.Count(text, "\n")
		}
	}
	return n
}

// TestSanitize_Dump: of what FlashInfer's own logger wrote of three plans of decoding, three of paged prefill and a norm, with no
// attention's run, what is asked for becomes workloads, and what could be asked for is said.
func TestSanitize_Dump(t *testing.T) {
	const dumps = "testdata/dumps/flashinfer-0.7.2"
	for _, tc := range []struct {
		name  string
		defs  []string
		flags string
		want  map[string]int
		says  string
		plans int // that made no workload
	}{
		{name: "by default, runs alone", defs: []string{decodeDef, pagedDef, normDef}, want: map[string]int{normDef: 1},
			says: "the runs of 3 plans of " + decodeClass + " were not dumped: --dump auto", plans: 6},
		{name: "so it is said to be", defs: []string{decodeDef, normDef}, flags: "--dump run", want: map[string]int{normDef: 1}, says: "--dump auto", plans: 6},
		{name: "nothing to say of a norm", defs: []string{normDef}, want: map[string]int{normDef: 1}, plans: 6},
		{name: "plans", defs: []string{decodeDef}, flags: "--dump plan", want: map[string]int{decodeDef: 3}, plans: 3},
		{name: "plans, over pages of 64", defs: []string{"gqa_paged_decode_h32_kv8_d128_ps64"}, flags: "--dump plan",
			want: map[string]int{"gqa_paged_decode_h32_kv8_d128_ps64": 3}, plans: 3},
		{name: "plans and runs", defs: []string{decodeDef, pagedDef, normDef}, flags: "--dump auto", want: map[string]int{decodeDef: 3, normDef: 1}, plans: 3},
		{name: "plans of prefill in the one mode", defs: []string{decodeDef, pagedDef, normDef}, flags: "--dump auto --mode http-paged",
			want: map[string]int{decodeDef: 3, pagedDef: 3, normDef: 1}},
		{name: "and in another", defs: []string{pagedDef, normDef}, flags: "--dump auto --mode http-ragged", want: map[string]int{normDef: 1}, plans: 6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := sanitizing(t, dumps, tc.defs, strings.Fields(tc.flags)...)
			require.Equal(t, cli.ExitDone, got.code, got.stderr)
			require.Equal(t, tc.want, got.lines())
			require.EqualValues(t, tc.plans, got.report.Counts.Plans)
			require.EqualValues(t, 7, got.report.Counts.Dumps)
			if tc.says == "" {
				require.Empty(t, got.stderr)
			}
			require.Contains(t, got.stderr, tc.says)
		})
	}
	for says, tc := range map[string]struct{ def, flags string }{
		normDef + ": ":                          {normDef, "--dump plan"},
		"run over cached prefixes only":         {pagedDef, "--dump plan"},
		"use --dump auto":                       {pagedDef, "--dump plan --mode offline"},
		`must be one of "auto","run","plan"`:    {decodeDef, "--dump none"},
		`"offline","http-paged","http-ragged",`: {decodeDef, "--mode http"},
	} {
		got := sanitizing(t, dumps, []string{decodeDef, tc.def}, strings.Fields(tc.flags)...)
		require.Equal(t, cli.ExitUsage, got.code, tc.flags)
		require.Contains(t, got.stderr, says)
		require.Empty(t, got.files)
	}
	nowhere := sanitizing(t, dumps, []string{decodeDef})
	require.Equal(t, cli.ExitNothing, nowhere.code, "there is no run of decoding")
}

// TestSanitize_DumpBoth: where runs were dumped beside their plans, the dataset is the same byte by byte whatever is asked for, and
// without the runs it is what the runs gave.
func TestSanitize_DumpBoth(t *testing.T) {
	for def, mode := range map[string]proto.EngineMode{decodeDef: proto.ModeOffline, pagedDef: proto.ModeHTTPPaged, raggedDef: proto.ModeHTTPRagged} {
		list := enginetest.Definitions(t, def)
		job := engine.Job{Task: enginetest.Task(proto.EngineSimulate, mode, list), Definitions: list, DumpDir: t.TempDir(), Log: zerolog.Nop()}
		job.Task.Engine.PageSize = int(list[0].PageSize())
		_, err := simulate.New().Run(t.Context(), job, func(engine.Progress) {})
		require.NoError(t, err)
		flags := []string{"--mode", string(mode)}
		want := sanitizing(t, job.DumpDir, []string{def}, flags...)
		require.Equal(t, cli.ExitDone, want.code, want.stderr)
		require.Empty(t, want.stderr)
		require.Greater(t, want.report.Counts.Plans, int64(2))

		auto := sanitizing(t, job.DumpDir, []string{def}, append(flags, "--dump", "auto")...)
		require.Equal(t, want, auto)
		plan := sanitizing(t, job.DumpDir, []string{def}, append(flags, "--dump", "plan")...)
		require.Equal(t, want.files, plan.files)
		require.Equal(t, want.report.Counts.Manifests+want.report.Counts.Plans, plan.report.Counts.Manifests)
		require.Equal(t, want.report.Total.Workload, plan.report.Total.Workload)

		for _, name := range enginetest.Dumps(t, job.DumpDir) {
			if !strings.Contains(name, ".plan_call") {
				require.NoError(t, os.RemoveAll(filepath.Join(job.DumpDir, name)))
			}
		}
		for _, dump := range []string{"auto", "plan"} {
			alone := sanitizing(t, job.DumpDir, []string{def}, append(flags, "--dump", dump)...)
			require.Equal(t, slices.Sorted(maps.Keys(want.files)), slices.Sorted(maps.Keys(alone.files)), "%s, --dump %s", def, dump)
			require.Equal(t, want.files, alone.files)
			require.Zero(t, alone.report.Counts.Plans)
		}
	}
}

// TestSanitize_UnrunPlans: one run of a class, of any plan and however broken, keeps auto from taking the class's plans for it; another
// class's does not.
func TestSanitize_UnrunPlans(t *testing.T) {
	for function, taken := range map[string]bool{decodeClass + ".run": false, decodeClass + ".forward_return_lse": false, "BatchPrefillWithRaggedKVCacheWrapper.run": true} {
		dumps := t.TempDir()
		require.NoError(t, os.CopyFS(dumps, os.DirFS("testdata/dumps/flashinfer-0.7.2")))
		require.NoError(t, os.Mkdir(filepath.Join(dumps, "20261127_131540_000_pid1_"+function+"_call0001"), 0o755))
		got := sanitizing(t, dumps, []string{decodeDef, normDef}, "--dump", "auto")
		require.Equal(t, taken, got.lines()[decodeDef] == 3, function)
		got = sanitizing(t, dumps, []string{decodeDef, normDef})
		require.Equal(t, taken, strings.Contains(got.stderr, "warning:"), got.stderr)
	}
}
