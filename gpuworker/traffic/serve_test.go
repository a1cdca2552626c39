package traffic_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

// TestServe_Property: with any durations, a request starts the instant that the one whose place it takes has ended, in order,
// and never are more in flight than asked for. Time is synctest's, so that instants can be compared.
func TestServe_Property(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		inFlight := rapid.IntRange(1, 8).Draw(rt, "in flight")
		durations := rapid.SliceOfN(rapid.Int64Range(0, 20), 1, 60).Draw(rt, "durations")
		starts := make([]time.Duration, len(durations))
		var most, served, reports int
		var err error
		synctest.Test(t, func(t *testing.T) {
			src := source(t, task(proto.ModeAny, 1, len(durations), nil), traffic.Options{})
			began := time.Now()
			var mu sync.Mutex
			running := 0
			served, _, err = traffic.Serve(t.Context(), src, inFlight, nil, nil, func(ctx context.Context, r traffic.Request) error {
				mu.Lock()
				running++
				most = max(most, running)
				starts[r.ID] = time.Since(began)
				mu.Unlock()
				time.Sleep(time.Duration(durations[r.ID]) * time.Second)
				mu.Lock()
				running--
				mu.Unlock()
				return nil
			}, func(done, total int) {
				reports++
				if done != reports || total != len(durations) {
					t.Errorf("report %d is %d of %d", reports, done, total)
				}
			})
		})
		require.NoError(rt, err)
		require.Equal(rt, len(durations), served)
		require.Equal(rt, len(durations), reports)
		require.LessOrEqual(rt, most, inFlight)

		// Greedy: each takes the place that is free first.
		places := make([]time.Duration, inFlight)
		for i, d := range durations {
			at := slices.Index(places, slices.Min(places))
			require.Equal(rt, places[at], starts[i], "start of request %d", i)
			places[at] += time.Duration(d) * time.Second
		}
	})
}

// TestServe_After: what must come after others waits for all of them, and then fills every place at once.
func TestServe_After(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := source(t, task(proto.ModeHTTPPaged, 8, 4, nil), traffic.Options{})
		var mu sync.Mutex
		served, running, full := 0, 0, false
		_, _, err := traffic.Serve(t.Context(), src, 8, nil, nil, func(ctx context.Context, r traffic.Request) error {
			mu.Lock()
			if served < r.After {
				t.Errorf("request %d was sent after %d were served, not %d", r.ID, served, r.After)
			}
			running++
			full = full || (r.After > 0 && running == 8)
			mu.Unlock()
			time.Sleep(time.Duration(r.ID%3+1) * time.Second)
			mu.Lock()
			running--
			served++
			mu.Unlock()
			return nil
		}, nil)
		require.NoError(t, err)
		require.Equal(t, 32, served)
		require.True(t, full)
	})
}

func TestServe_Paced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		task := traced(2, 2, file(t, "trace.jsonl", recorded)) // arrivals at 0, 0.0005, 2 and 8 seconds
		task.Traffic.TraceSpeed = 1
		src := source(t, task, traffic.Options{})
		began := time.Now()
		starts := make([]time.Duration, 4)
		served, _, err := traffic.Serve(t.Context(), src, 1, nil, nil, func(ctx context.Context, r traffic.Request) error {
			starts[r.ID] = time.Since(began)
			time.Sleep(1500 * time.Millisecond)
			return nil
		}, nil)
		require.NoError(t, err)
		require.Equal(t, 4, served)
		require.Equal(t, []time.Duration{0, 1500 * time.Millisecond, 3 * time.Second, 8 * time.Second}, starts,
			"on time, or late when there was no room")
	})
}

func TestServe_Spent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := source(t, task(proto.ModeAny, 4, 8, nil), traffic.Options{})
		began := time.Now()
		var started atomic.Int64
		served, spent, err := traffic.Serve(t.Context(), src, 4, nil, func() bool { return time.Since(began) >= 3*time.Second },
			func(ctx context.Context, r traffic.Request) error {
				if started.Add(1) <= 4 {
					time.Sleep(time.Second)
					return nil
				}
				<-ctx.Done() // a long answer
				return ctx.Err()
			}, nil)
		require.NoError(t, err)
		require.True(t, spent)
		require.Equal(t, 4, served)
		require.EqualValues(t, 8, started.Load())
		require.Equal(t, 3*time.Second, time.Since(began), "noticed though no request ended")
	})
}

func TestServe_FirstErrorCancelsTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := source(t, task(proto.ModeAny, 4, 8, nil), traffic.Options{})
		broken := errors.New("connection refused")
		running := atomic.Int64{}
		served, spent, err := traffic.Serve(t.Context(), src, 4, nil, nil, func(ctx context.Context, r traffic.Request) error {
			running.Add(1)
			defer running.Add(-1)
			switch r.ID {
			case 0:
				return nil
			case 2:
				time.Sleep(time.Second)
				return broken
			}
			<-ctx.Done()
			return errors.New("cancelled because of the other")
		}, nil)
		require.ErrorIs(t, err, broken)
		require.False(t, spent)
		require.Equal(t, 1, served)
		require.Zero(t, running.Load())
	})
}

func TestServe_Cancelled(t *testing.T) {
	t.Parallel()
	stop := errors.New("the user said so")
	for name, change := range map[string]func(*proto.Task){
		"in flight":                func(*proto.Task) {},
		"waiting for what is slow": func(t *proto.Task) { t.Engine.Mode = proto.ModeHTTPPaged },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				src := source(t, task(proto.ModeAny, 8, 8, change), traffic.Options{})
				ctx, cancel := context.WithCancelCause(t.Context())
				go func() { time.Sleep(time.Minute); cancel(stop) }()
				served, _, err := traffic.Serve(ctx, src, 8, nil, func() bool { return false }, func(ctx context.Context, r traffic.Request) error {
					<-ctx.Done()
					return ctx.Err()
				}, nil)
				require.ErrorIs(t, err, stop)
				require.Zero(t, served)
			})
		})
	}
	t.Run("before its time has come", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			task := traced(2, 2, file(t, "trace.jsonl", recorded))
			task.Traffic.TraceSpeed = 0.001
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() { time.Sleep(time.Minute); cancel(stop) }()
			began := time.Now()
			served, _, err := traffic.Serve(ctx, source(t, task, traffic.Options{}), 4, nil, nil, func(context.Context, traffic.Request) error { return nil }, nil)
			require.ErrorIs(t, err, stop)
			require.Equal(t, 2, served)
			require.Equal(t, time.Minute, time.Since(began))
		})
	})
}

func TestServe_Gate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := source(t, task(proto.ModeAny, 2, 4, nil), traffic.Options{})
		began, opens := time.Now(), time.Now().Add(time.Hour)
		passed := 0
		served, _, err := traffic.Serve(t.Context(), src, 2, func(ctx context.Context) error {
			if passed++; passed == 5 {
				time.Sleep(time.Until(opens))
			}
			return nil
		}, nil, func(ctx context.Context, r traffic.Request) error {
			if held := r.ID >= 4; held == time.Now().Before(opens) {
				t.Errorf("request %d was sent after %s", r.ID, time.Since(began))
			}
			return nil
		}, nil)
		require.NoError(t, err)
		require.Equal(t, 8, served)
		require.Equal(t, 8, passed)

		full := errors.New("disk quota")
		served, _, err = traffic.Serve(t.Context(), source(t, task(proto.ModeAny, 2, 4, nil), traffic.Options{}), 2,
			func(context.Context) error { return full }, nil, func(context.Context, traffic.Request) error { return nil }, nil)
		require.ErrorIs(t, err, full)
		require.Zero(t, served)
	})
}
