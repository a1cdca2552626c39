package sglang

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

const (
	readyEvery = 500 * time.Millisecond
	// lineWait is how long a server that answers is given to log that it is ready: warm-up comes between the two. A
	// --log-level that hides the line costs no more than that.
	lineWait = 10 * time.Second
)

// serveHTTP runs a server's lifetime.
func (l *lifetime) serveHTTP(ctx context.Context) (err error) {
	if err := l.launch(proc.Spec{Args: append([]string{l.e.opt.Python}, l.plan.args...)}); err != nil {
		return err
	}
	defer func() { err = l.stop(ctx, err) }()
	c := newClient(l.plan.host, l.plan.port, l.job.Task.BatchSize, l.job.Task.Engine.ModelPath, &l.tokens)
	defer c.close()
	if err := l.ready(ctx, c); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	serving, stop := l.whileAlive(ctx)
	defer stop()
	defer l.clock()()
	_, spent, err := traffic.Serve(serving, l.source, l.job.Task.BatchSize, l.job.Wait, l.job.Spent, c.send, func(done, _ int) {
		l.served.Store(int64(done))
		l.progress("")
	})
	var broken *unservedError
	switch {
	case ctx.Err() == nil && (errors.As(err, &broken) || errors.Is(err, errEnded)):
		return l.failed(phaseServing, err)
	case err != nil: // ctx's, the gate's, or what a request was refused for
		return err
	case spent:
		l.tell(fmt.Sprintf("dump budget spent after %d of %d requests", l.served.Load(), l.source.Total()))
	}
	return nil
}

// whileAlive gives a context that ends with the engine's main process.
func (l *lifetime) whileAlive(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-l.child.Left():
			cancel(errEnded)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// ready waits until the server is: an endpoint says so, and so does the log.
func (l *lifetime) ready(ctx context.Context, c *client) error {
	timeout := l.startTimeout()
	late := time.NewTimer(timeout)
	defer late.Stop()
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	logged := l.watch.ready
	var answered time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.child.Left():
			return l.failed(phaseStart, errEnded)
		case <-late.C:
			return l.watch.late(l.node.release, timeout)
		case <-logged:
			logged = nil // said; the endpoint is asked at once
		case <-tick.C:
		}
		if !c.up(ctx, l.plan.ready) {
			continue
		}
		if answered.IsZero() {
			answered = time.Now()
		}
		if l.watch.known().Ready || time.Since(answered) >= lineWait {
			return nil
		}
	}
}

func (l *lifetime) startTimeout() time.Duration {
	if t := l.job.Task.Engine.StartTimeout; t > 0 {
		return t
	}
	return l.e.opt.StartTimeout
}

// Ports that are looked at first: below those that systems give to outgoing connections, of which one may take a port between our
// look and the server's start.
const (
	firstPort = 20000
	ports     = 12000
)

// freePort finds a port that nobody listens on. Another process may take it before the server does: that server fails, and the
// task is tried again.
func freePort(ctx context.Context, host string) (int, error) {
	switch host {
	case "", "*":
		host = "127.0.0.1"
	}
	var lc net.ListenConfig
	for try := 0; ; try++ {
		port := strconv.Itoa(firstPort + rand.IntN(ports))
		if try == 50 {
			port = "0" // the system's choice
		}
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, port))
		if err == nil {
			_, port, err := net.SplitHostPort(ln.Addr().String())
			n, err2 := strconv.Atoi(port)
			return n, errors.Join(err, err2, ln.Close())
		}
		if !errors.Is(err, syscall.EADDRINUSE) || try == 50 {
			return 0, proto.Failf(proto.CodeEnvironment, "find a free port on %s: %v", host, err).WithHint("does --base-url name an address of this node?")
		}
	}
}
