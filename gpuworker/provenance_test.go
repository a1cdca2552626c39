package gpuworker_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker"
	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// What a manifest and the attempt's events state depends on the engine: what it served, or what is known of recorded dumps.
func TestAttempt_Provenance_ByEngine(t *testing.T) {
	t.Parallel()
	found := map[string]string{"sglang": "0.5.17.dev3", "flashinfer": "0.0.1", "python": "3.12.3"}
	for name, tc := range map[string]struct {
		kind     proto.EngineKind
		recorded *proto.Recorded
		dumped   map[string]string // versions that the dumps record
		identity *engine.Identity
		want     func(traffic *proto.Traffic) proto.Provenance
		versions map[string]string
	}{
		"sglang": {
			kind: proto.EngineSGLang, dumped: map[string]string{"flashinfer": "0.6.14"}, identity: &engine.Identity{Versions: found, Mode: proto.ModeOffline},
			want: func(traffic *proto.Traffic) proto.Provenance {
				return proto.Provenance{
					Engine: proto.EngineSGLang, Served: proto.Served{Engine: "sglang", Release: "0.5.17.dev3"}, Mode: proto.ModeOffline, Model: "org/m",
					GPU: "NVIDIA H200", TP: 1, EP: 1, BatchSize: 4, Traffic: traffic, Seed: traffic.Seed,
				}
			},
			versions: map[string]string{"tracefleet": "test", "flashinfer": "0.6.14", "sglang": "0.5.17.dev3", "python": "3.12.3"},
		},
		"simulate": {
			kind: proto.EngineSimulate, dumped: map[string]string{proto.VersionSimulate: "2"},
			want: func(traffic *proto.Traffic) proto.Provenance {
				return proto.Provenance{
					Simulated: true, Engine: proto.EngineSimulate, Served: proto.Served{Engine: "simulate", Release: "2"}, Mode: proto.ModeAny,
					TP: 1, EP: 1, BatchSize: 4, Traffic: traffic, Seed: traffic.Seed,
				}
			},
			versions: map[string]string{"tracefleet": "test", proto.VersionSimulate: "2"},
		},
		"replay of unknown dumps": {
			kind: proto.EngineReplay, dumped: map[string]string{"flashinfer": "0.6.14"},
			want:     func(*proto.Traffic) proto.Provenance { return proto.Provenance{Engine: proto.EngineReplay} },
			versions: map[string]string{"tracefleet": "test", "flashinfer": "0.6.14"},
		},
		"replay of simulated dumps": {
			kind: proto.EngineReplay, dumped: map[string]string{proto.VersionSimulate: "2"},
			want: func(*proto.Traffic) proto.Provenance {
				return proto.Provenance{Engine: proto.EngineReplay, Simulated: true, Served: proto.Served{Engine: "simulate", Release: "2"}}
			},
			versions: map[string]string{"tracefleet": "test", proto.VersionSimulate: "2"},
		},
		"replay with statements": {
			kind: proto.EngineReplay, recorded: &proto.Recorded{Engine: "sglang", Model: "org/m"}, dumped: map[string]string{"sglang": "0.5.16"},
			want: func(*proto.Traffic) proto.Provenance {
				return proto.Provenance{
					Engine: proto.EngineReplay, Served: proto.Served{Engine: "sglang", Release: "0.5.16"}, Model: "org/m", Stated: []string{proto.StatedModel},
				}
			},
			versions: map[string]string{"tracefleet": "test", "sglang": "0.5.16"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			var traffic proto.Traffic
			key := f.submit("t000", func(s *proto.TaskState) {
				e := &s.Task.Engine
				e.Kind, e.Recorded, e.ModelPath, e.Mode, e.DumpDir, traffic = tc.kind, tc.recorded, "org/m", proto.ModeAny, "/dumps", s.Task.Traffic
				if tc.kind == proto.EngineReplay { // a coordinator of another release may still send them
					require.NotZero(t, s.Task.BatchSize)
				}
			})
			eng := scripted(func(_ context.Context, job engine.Job, _ func(engine.Progress)) (engine.Result, error) {
				if tc.identity != nil {
					job.Identify(*tc.identity)
				}
				if job.Begin != nil && tc.kind == proto.EngineSGLang {
					if err := job.Begin(context.Background()); err != nil {
						return engine.Result{}, err
					}
				}
				return engine.Result{}, norms(fidump.NewWriter(job.DumpDir, 100, tc.dumped), 0, 2)
			})
			f.start(eng, func(o *gpuworker.Options) {
				o.Engines, o.Leases = engine.Registry{tc.kind: eng}, plenty{} // the node has a GPU, whatever the engine
			})
			f.until(key, is(proto.StateCollected))
			for _, m := range f.takeManifests(2) {
				require.Equal(t, tc.versions, m.Provenance.Versions)
				want, got := tc.want(&traffic), m.Provenance
				want.Attempt, want.Host, want.PID, want.Dump, want.Versions, want.Rank = 1, "node", got.PID, got.Dump, got.Versions, got.Rank
				require.Equal(t, want, got)
			}
			begins := ""
			require.NoError(t, f.bus.Events(t.Context(), proto.EventFilter("c-test"), time.Time{}, func(e *proto.Event) error {
				if strings.Contains(e.Text, "begins") {
					begins = e.Text
				}
				return nil
			}))
			require.Contains(t, begins, "attempt 1 begins")
			require.Equal(t, tc.kind.Serves(), strings.Contains(begins, "batch size 4"), begins)
		})
	}
}
