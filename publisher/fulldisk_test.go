package publisher

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

// A directory that refuses writes does so until a person changes it: the publication ends at once, with the command that goes on, and
// the next attempt publishes.
func TestPublisher_RefusedWrite_EndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		op     string
		errno  syscall.Errno
		code   proto.Code
		remedy string
	}{
		"full":           {"write", syscall.ENOSPC, proto.CodeDiskFull, "free space"},
		"quota":          {"create", syscall.EDQUOT, proto.CodeDiskFull, "free space"},
		"read-only":      {"mkdir", syscall.EROFS, proto.CodeDatasetWrite, "make the directory writable"},
		"no permissions": {"rename", syscall.EACCES, proto.CodeDatasetWrite, "make the directory writable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, testDefinition(t, defName))
			f.task("t000", 1, f.store.someVerdicts(defName))
			var refuses atomic.Bool
			refuses.Store(true)
			p := New(Options{Bus: f.bus, Store: f, Log: bustest.Log(t), before: func(s atomicfile.Step) error {
				if refuses.Load() && s.Op == tc.op {
					return tc.errno
				}
				return nil
			}})
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- p.Run(ctx) }()
			t.Cleanup(func() { cancel(); require.NoError(t, <-done) })

			began := time.Now()
			f.send(f.message("t000", 1, 0, proto.PublishSpec{}))
			pub := f.ended("t000", 0)
			require.Less(t, time.Since(began), 5*time.Second)
			require.Equal(t, proto.StateFailed, pub.State)
			require.Equal(t, tc.code, pub.Failure.Code)
			require.Contains(t, pub.Failure.Message, f.dir)
			require.Contains(t, pub.Failure.Message, tc.errno.Error())
			require.Equal(t, tc.remedy+", or pass another --trace-dir, then `tracefleet jobs retry c-1`", pub.Failure.Hint)
			require.Equal(t, 1, strings.Count(pub.Failure.Error(), f.dir), "the path is named once: %s", pub.Failure)

			refuses.Store(false)
			f.task("t000", 2, f.store.someVerdicts(defName))
			m := f.message("t000", 2, 0, proto.PublishSpec{})
			require.NoError(t, f.bus.Publish(t.Context(), proto.PublishSubject(m.Collection, m.Task, m.Index), m, "again"))
			require.Eventually(t, func() bool {
				pub, _, err := f.records.Get(t.Context(), proto.PublicationKey("c-1", "t000", 0))
				return err == nil && pub.Attempt == 2 && pub.State == proto.StateDone
			}, 20*time.Second, 10*time.Millisecond)
			sound(t, f.dir, 0)
		})
	}
}
