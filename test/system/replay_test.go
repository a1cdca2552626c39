package system_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// recordedNorms writes the dumps of three calls, as a server of which nothing else is known left them.
func recordedNorms(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "recorded")
	w := fidump.NewWriter(dir, 4242, map[string]string{"flashinfer": "0.6.14", "torch": "2.11.0"})
	for rows := range int64(3) {
		p, err := w.Begin(fidump.Call{
			Time: time.Date(2026, 11, 23, 12, 0, int(rows), 0, time.UTC), Function: "rmsnorm", Module: "flashinfer.norm",
			Signature: "(input: torch.Tensor, weight: torch.Tensor, eps: float = 1e-06) -> torch.Tensor",
			Args: []fidump.Value{
				fidump.TensorArg("arg_0", "bfloat16", []int64{rows + 1, 4096}, nil), fidump.TensorArg("arg_1", "bfloat16", []int64{4096}, nil),
				{Key: "arg_2", Kind: fidump.KindFloat, Float: 1e-5},
			},
		})
		require.NoError(t, err)
		require.NoError(t, p.Return(fidump.TensorArg("", "bfloat16", []int64{rows + 1, 4096}, nil)))
	}
	return dir
}

// invented matches labels that only the flags' defaults or this node could state of replayed calls: a batch size, traffic, a seed, a model, ranks.
var invented = regexp.MustCompile(`(?i)\bbatch[ _]sizes?"?:? *\[?[1-9]|"?batch"? [1-9]|\b1024\b|random,|"dataset": *"random"|seed"?:? *[1-9]|seed 0|\bat most \d+ tokens|"t?[te]p": *[1-9]|num_batches": *[1-9]|SGLang Collection Log|"mode": *"(offline|http)`)

// All that a replay prints, records and publishes states the recorded calls alone; the rest is unknown, or stated by the user.
func TestReplay_UnknownDumps_NothingIsInvented(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		flags []string
		title string
		rows  []string // of the pull request's table
		from  []string // in the provenance
		calls string   // in the closing report
	}{
		"unknown": {
			title: "Workloads of rmsnorm_h4096",
			rows:  []string{"| model | unknown |", "| engine | unknown |", "| release | unknown |", "| GPU | unknown |", "| traffic | unknown |"},
			from:  []string{`"from":{"simulated":false,"engine":"replay","versions":`},
			calls: "recorded calls: engine unknown, release unknown, model unknown, GPU unknown, traffic unknown",
		},
		"stated": {
			flags: []string{"--recorded-engine", "sglang==0.5.16", "--recorded-model", "org/Llama-8B", "--recorded-gpu", "NVIDIA H200"},
			title: "Workloads of rmsnorm_h4096 from org/Llama-8B (stated by the user)",
			rows: []string{
				"| model | `org/Llama-8B` (stated by the user) |", "| engine | `sglang` (stated by the user) |", "| release | `0.5.16` (stated by the user) |",
				"| GPU | `NVIDIA H200` (stated by the user) |", "| traffic | unknown |",
			},
			from: []string{`"served":{"engine":"sglang","release":"0.5.16"}`, `"model":"org/Llama-8B"`, `"gpu":"NVIDIA H200"`, `"stated":["engine","gpu","model"]`},
			calls: "recorded calls: engine sglang (stated by the user), release 0.5.16 (stated by the user), model org/Llama-8B (stated by the user), " +
				"GPU NVIDIA H200 (stated by the user), traffic unknown",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hubtest.New(t, hubtest.Options{})
			dataset, state := newDataset(t), filepath.Join(t.TempDir(), "state")
			args := append([]string{
				"collect", "--dump-dir", recordedNorms(t), "--trace-dir", dataset, "--state-dir", state, "--definitions", "rmsnorm_h4096", "--repo-id", repo, "--no-eval",
			}, tc.flags...)
			out, errs, code := runIn(t.Context(), t, env(h), args...)
			require.Zero(t, code, "%s\n%s", out, errs)
			said := map[string]string{"standard output": out, "standard error": errs}

			require.Contains(t, out, tc.calls)
			require.Len(t, h.PRs(), 1)
			pr := h.PRs()[0]
			require.Equal(t, tc.title, pr.Title)
			for _, row := range append(tc.rows, "| unknown | 3 | 3 | 0 | 0 | - |", "`batch_size=1`", "`batch_size=3`", "flashinfer 0.6.14") {
				require.Contains(t, pr.Description, row)
			}
			said["the pull request"] = pr.Description

			provenance, err := os.ReadFile(filepath.Join(dataset, ".tracefleet", "provenance", "rmsnorm", "rmsnorm_h4096.jsonl"))
			require.NoError(t, err)
			for _, words := range tc.from {
				require.Contains(t, string(provenance), words)
			}
			require.NotContains(t, string(provenance), `"traffic"`)
			said["the provenance"] = strings.ReplaceAll(string(provenance), "batch_size=", "")

			id := strings.TrimSuffix(strings.Fields(out[strings.Index(out, "collection c-"):])[1], ":")
			for _, more := range [][]string{{"jobs", "show", id}, {"jobs", "show", "--json", id}, {"jobs", "logs", id}, {"jobs", "logs", "--json", id}, {"jobs", "list", "--json"}} {
				out, errs, code := runIn(t.Context(), t, env(h), append(more, "--state-dir", state)...)
				require.Zero(t, code, errs)
				said[strings.Join(more, " ")] = out
			}
			for _, log := range []string{id + ".log", "roles.log"} {
				data, err := os.ReadFile(filepath.Join(state, "logs", log))
				require.NoError(t, err)
				said[log] = string(data)
			}
			for where, text := range said {
				for line := range strings.Lines(text) {
					if found := invented.FindString(line); found != "" {
						t.Errorf("%s invents %q: %s", where, found, fmt.Sprintf("%.300s", line))
					}
				}
			}
		})
	}
}
