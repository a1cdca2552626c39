package lease_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tracefleet/tracefleet/gpuworker/lease"
	"github.com/tracefleet/tracefleet/proto"
)

// holdEnv makes the test binary a process that leases so many devices, starts a child, and waits to be killed.
const holdEnv = "TRACEFLEET_TEST_LEASE"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(holdEnv)); err == nil {
		hold(n)
	}
	goleak.VerifyTestMain(m)
}

func hold(n int) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	node, err := lease.Open(ctx, lease.Options{Inventory: fakes(2)})
	if err == nil {
		err = node.Ready(ctx)
	}
	if err == nil {
		_, err = node.Acquire(ctx, task("t-held", n))
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held", child.Process.Pid)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n') // until killed, or the test is gone
	_ = child.Process.Kill()
	os.Exit(0)
}

// fakes are n devices.
func fakes(n int) lease.Fixed {
	var list lease.Fixed
	for i := range n {
		list = append(list, lease.Device{Index: i, UUID: fmt.Sprintf("GPU-%d%d-feed", i, i), Name: "Fake", Bytes: 80 << 30, Capability: "9.0"})
	}
	return list
}

func task(id string, tp int) *proto.Task {
	return &proto.Task{Collection: "c-test", ID: id, Engine: proto.EngineSpec{Kind: proto.EngineSGLang, TP: tp}}
}

func open(t *testing.T, dir string, change ...func(*lease.Options)) *lease.Node {
	t.Helper()
	o := lease.Options{Inventory: fakes(4), LockDir: dir, Retry: 5 * time.Millisecond}
	for _, c := range change {
		c(&o)
	}
	n, err := lease.Open(t.Context(), o)
	require.NoError(t, err)
	return n
}

func acquire(t *testing.T, n *lease.Node, id string, tp int) lease.Grant {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	g, err := n.Acquire(ctx, task(id, tp))
	require.NoError(t, err)
	t.Cleanup(g.Release)
	return g
}

// refused is a task that does not wait and gets nothing.
func refused(t *testing.T, n *lease.Node, id string, tp int) {
	t.Helper()
	_ = refusal(t, n, id, tp)
}

// refusal is the answer to it.
func refusal(t *testing.T, n *lease.Node, id string, tp int) (busy *lease.Busy) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := n.Acquire(ctx, task(id, tp))
	require.ErrorAs(t, err, &busy)
	require.ErrorIs(t, err, context.Canceled)
	return busy
}

func holders(n *lease.Node) []string {
	var list []string
	for _, g := range n.GPUs() {
		list = append(list, g.Holder)
	}
	return list
}
