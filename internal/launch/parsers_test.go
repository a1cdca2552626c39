package launch

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/reach"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// commandsEnv names a file that TestForTask_EveryAPI writes every command to, a JSON document a line, for SGLang's own parsers
// to judge: test/interop/sglang_flags.py.
const commandsEnv = "TRACEFLEET_COMMANDS"

// line is what is written of a command.
type line struct {
	*Command
	What string `json:"what"`
}

// TestForTask_EveryAPI makes the command of every API that package reach knows, in every release, mode, stage and on two GPUs,
// and holds each against the release's table.
func TestForTask_EveryAPI(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../reach/apis.json")
	require.NoError(t, err)
	var known struct{ APIs []struct{ API string } }
	require.NoError(t, json.Unmarshal(data, &known))
	require.Greater(t, len(known.APIs), 20)

	write := func(line) {}
	if file := os.Getenv(commandsEnv); file != "" {
		f, err := os.Create(file)
		require.NoError(t, err)
		out := bufio.NewWriter(f)
		defer func() {
			require.NoError(t, out.Flush())
			require.NoError(t, f.Close())
		}()
		enc, seen := json.NewEncoder(out), map[string]bool{}
		write = func(l line) {
			key := fmt.Sprint(l.Release, l.Args, l.Engine, slices.DeleteFunc(slices.Clone(l.Env), func(v string) bool { return strings.HasPrefix(v, "FLASHINFER_") }))
			if !seen[key] {
				require.NoError(t, enc.Encode(l))
			}
			seen[key] = true
		}
	}
	made := map[string]map[proto.EngineMode]int{}
	for _, release := range sglang.Known() {
		table, err := sglang.Lookup(release, false)
		require.NoError(t, err)
		made[release] = map[proto.EngineMode]int{}
		for _, api := range known.APIs {
			for _, kind := range []string{"stage:prefill", "stage:decode"} {
				for _, gpu := range []int{90, 100} {
					for _, tp := range []int{1, 8} {
						d := definition("d", "op", strings.TrimPrefix(api.API, "flashinfer."), kind)
						q := reach.Query{Release: release, Capability: gpu, TP: tp, Architecture: "Qwen3MoeForCausalLM"}
						a := reach.Ask(d, q)
						if a.Verdict != reach.Reachable {
							continue
						}
						for _, job := range jobs(a, tp, d) {
							c, err := ForTask(job, []*fitrace.Definition{d}, Node{
								Release: release, Capability: gpu, Architecture: q.Architecture, DumpDir: "/run/dumps", TraceDir: "/run/trace", CacheDir: "/cache", Port: 30000,
							})
							require.NoError(t, err, "%s %s %s", release, api.API, job.Engine.Mode)
							made[release][job.Engine.Mode]++
							what := fmt.Sprintf("%s %s on sm_%d, tp %d, %s", api.API, kind, gpu, tp, job.Engine.Mode)
							judge(t, table, c, what)
							write(line{c, what})
						}
					}
				}
			}
		}
		for _, mode := range []proto.EngineMode{proto.ModeOffline, proto.ModeHTTPPaged, proto.ModeHTTPRagged} {
			require.Greater(t, made[release][mode], 5, "%s %s", release, mode)
		}
	}
}

// jobs are the tasks in which a definition is collected: in its mode, or in each where it rides along; plainly, and with all that
// a task can add.
func jobs(a reach.Answer, tp int, d *fitrace.Definition) (list []*proto.Task) {
	modes := []proto.EngineMode{proto.EngineMode(a.Mode)}
	if a.Mode == reach.ModeAny {
		modes = []proto.EngineMode{proto.ModeOffline, proto.ModeHTTPPaged, proto.ModeHTTPRagged}
	}
	for _, mode := range modes {
		plain := task(mode, d)
		plain.Engine.TP = tp
		full := task(mode, d)
		full.Engine.TP, full.Engine.EP, full.Engine.PageSize = tp, tp, 64
		full.Traffic.Chat, full.Traffic.DisableRadix, full.Dump.TraceDump = true, !slices.Contains(a.Excludes, "--disable-radix-cache"), true
		full.Engine.ModelFlags = []string{"--trust-remote-code", "--mem-fraction-static 0.85", "--kv-cache-dtype auto"}
		full.Engine.Flags = []string{"--disable-cuda-graph", "--load-format=dummy", "--json-model-override-args", `{"num_hidden_layers": 2}`, "--dp", "1"}
		list = append(list, plain, full)
	}
	return list
}

func judge(t *testing.T, table *sglang.Table, c *Command, what string) {
	t.Helper()
	require.NoError(t, table.CheckKeywords(c.Engine), what)
	if len(c.Args) == 0 {
		return
	}
	require.NoError(t, table.CheckArgs(c.Args[2:]), what)
	for _, arg := range c.Args[2:] {
		name, _, _ := strings.Cut(arg, "=")
		if o := table.Option(name); strings.HasPrefix(arg, "--") {
			require.False(t, o.Deprecated, "%s %s: %s is deprecated", table.Release, what, name)
		}
	}
	require.True(t, table.HasRoute(c.Ready))
}
