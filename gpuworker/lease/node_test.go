package lease_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/proto"
)

func TestAcquire_SideBySide(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, dir)
	a, b := acquire(t, n, "t001", 1), acquire(t, n, "t002", 2)
	require.Equal(t, []string{"0"}, a.Devices)
	require.Equal(t, []string{"1", "2"}, b.Devices)
	require.Equal(t, 2, b.GPUs)
	require.Equal(t, []string{"c-test.t001", "c-test.t002", "c-test.t002", ""}, holders(n))
	text, err := os.ReadFile(filepath.Join(dir, "flashinfer-bench-gpu-2.info"))
	require.NoError(t, err)
	require.Regexp(t, `^  PID:        \d+\n  GPUs:       1 2\n  User:       \S+\n  Command:    tracefleet c-test\.t002\n  Since:      \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n  Exec limit: 0s\n$`, string(text))

	other := open(t, dir)
	require.Equal(t, []string{"3"}, acquire(t, other, "t003", 1).Devices, "another process takes what is left")
	require.Contains(t, holders(n)[3], "tracefleet c-test.t003")
	require.ErrorContains(t, refusal(t, other, "t004", 2), "device 1 is held by pid")
	require.ErrorContains(t, refusal(t, other, "t004", 1), "other tasks of ours hold them")

	a.Release()
	a.Release()
	require.NoFileExists(t, filepath.Join(dir, "flashinfer-bench-gpu-0.info"))
	require.FileExists(t, filepath.Join(dir, "flashinfer-bench-gpu-0.lock"), "a lock file that is removed could be locked twice")
	require.Equal(t, []string{"0"}, acquire(t, other, "t004", 1).Devices)
}

// A grant says what its devices are, for the provenance of what they compute.
func TestAcquire_Model(t *testing.T) {
	t.Parallel()
	n := open(t, t.TempDir(), func(o *lease.Options) {
		o.Inventory = lease.Fixed{{Index: 0, Name: "NVIDIA H200"}, {Index: 1, Name: "NVIDIA H200"}, {Index: 2, Name: "NVIDIA L4"}, {Index: 3}}
	})
	require.Equal(t, "NVIDIA H200", acquire(t, n, "t001", 2).Model)
	require.Equal(t, "NVIDIA L4", acquire(t, n, "t002", 2).Model, "one is not told")
}

func TestAcquire_NeedsNone(t *testing.T) {
	t.Parallel()
	n := open(t, t.TempDir(), func(o *lease.Options) { o.GPUs = "none" })
	for _, kind := range []proto.EngineKind{proto.EngineReplay, proto.EngineSimulate} {
		g, err := n.Acquire(t.Context(), &proto.Task{Engine: proto.EngineSpec{Kind: kind, TP: 8}})
		require.NoError(t, err)
		require.Empty(t, g.Devices)
		g.Release()
	}
	_, err := n.Acquire(t.Context(), task("t000", 1))
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, proto.CodeNoGPUs, f.Code)
	require.True(t, f.Retryable)
	require.NoError(t, n.Ready(t.Context()), "its tasks must be fetched to be told")
}

func TestAcquire_MoreThanThereAre(t *testing.T) {
	t.Parallel()
	n := open(t, t.TempDir())
	_, err := n.Acquire(t.Context(), task("t000", 5))
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, proto.CodeNoGPUs, f.Code)
	require.Equal(t, "task c-test.t000 needs 5 GPUs, one a rank; this worker has 4", f.Message)
	require.NotEmpty(t, f.Hint)
}

func TestAcquire_PipelineAndDataParallelRanks_AreLeased(t *testing.T) {
	t.Parallel()
	n := open(t, t.TempDir())
	wide := task("t000", 1)
	wide.Engine.GPUs = 3
	g, err := n.Acquire(t.Context(), wide)
	require.NoError(t, err)
	require.Equal(t, []string{"0", "1", "2"}, g.Devices)
	g.Release()
	wide.Engine.GPUs = 5
	_, err = n.Acquire(t.Context(), wide)
	require.ErrorContains(t, err, "needs 5 GPUs")
}

// A task that needs two devices is next in line. One device is free and then comes free again and again; those who need one do not
// get it, even while the first is away for a moment.
func TestAcquire_LargeTasksAreNotStarved(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := open(t, t.TempDir(), func(o *lease.Options) { o.GPUs, o.Keep = "0,1", time.Hour })
		small := acquire(t, n, "t001", 1)
		busy := refusal(t, n, "t002", 2)
		require.Equal(t, 20*time.Minute, busy.Again)
		refused(t, n, "t003", 1)
		require.Equal(t, []string{"c-test.t001", ""}, holders(n))
		ctx, cancel := context.WithTimeout(t.Context(), 19*time.Minute)
		defer cancel()
		require.ErrorIs(t, n.Ready(ctx), context.DeadlineExceeded, "no task is fetched that could not run")

		got := make(chan lease.Grant, 1)
		go func() {
			g, err := n.Acquire(context.WithoutCancel(t.Context()), task("t004", 1))
			if err == nil {
				got <- g
			}
		}()
		small.Release()
		synctest.Wait()
		require.Empty(t, got, "a device that t002 waits for")
		large := acquire(t, n, "t002", 2)
		require.Equal(t, []string{"0", "1"}, large.Devices)
		large.Release()
		synctest.Wait()
		require.Empty(t, got, "t003 was before it, and its place is kept")
		acquire(t, n, "t003", 1).Release()
		(<-got).Release()
		require.NoError(t, n.Ready(t.Context()))
	})
}

func TestAcquire_PlaceIsKeptForAMoment(t *testing.T) {
	t.Parallel()
	n := open(t, t.TempDir(), func(o *lease.Options) { o.GPUs, o.Keep = "0,1", 30*time.Millisecond })
	acquire(t, n, "t001", 1)
	refused(t, n, "t002", 2) // and another worker takes it
	require.Equal(t, []string{"1"}, acquire(t, n, "t003", 1).Devices)
}

// A large task behind another process's device does not hold up those who need less.
func TestAcquire_NobodyWaitsBehindAStranger(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stranger := open(t, dir, func(o *lease.Options) { o.GPUs = "1" })
	acquire(t, stranger, "t-other", 1)
	n := open(t, dir, func(o *lease.Options) { o.GPUs, o.Keep = "0,1", time.Hour })
	busy := refusal(t, n, "t001", 2)
	require.Equal(t, 2*time.Hour, busy.Again)
	require.ErrorContains(t, busy, "task c-test.t001 waits for 2 GPUs of this node: device 1 is held by pid")
	require.Equal(t, []string{"0"}, acquire(t, n, "t002", 1).Devices)
}

func TestReady(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := open(t, dir, func(o *lease.Options) { o.GPUs = "0" })
	require.NoError(t, n.Ready(t.Context()))
	for name, holder := range map[string]*lease.Node{"ours": n, "another process's": open(t, dir)} {
		g := acquire(t, holder, "t001", 1)
		ready := make(chan error, 1)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		require.ErrorIs(t, n.Ready(ctx), context.DeadlineExceeded, name)
		cancel()
		go func() { ready <- n.Ready(t.Context()) }()
		g.Release()
		require.NoError(t, <-ready, name)
	}
}
