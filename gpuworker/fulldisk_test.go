package gpuworker_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker"
	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/proto"
)

// A full or read-only work directory fails this node. Another worker may take the task; where there is none, the task fails at once.
func TestWorker_RefusedWrite_IsFinalWhereNoOtherWorkerComes(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		errno    syscall.Errno
		code     proto.Code
		alone    bool
		failures int
	}{
		"full, alone":           {syscall.ENOSPC, proto.CodeDiskFull, true, 1},
		"full, in a fleet":      {syscall.ENOSPC, proto.CodeDiskFull, false, proto.MaxAttempts},
		"quota, alone":          {syscall.EDQUOT, proto.CodeDiskFull, true, 1},
		"read-only, alone":      {syscall.EROFS, proto.CodeDumpDir, true, 1},
		"read-only, in a fleet": {syscall.EROFS, proto.CodeDumpDir, false, proto.MaxAttempts},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			key := f.submit("t000")
			w := f.start(scripted(func(context.Context, engine.Job, func(engine.Progress)) (engine.Result, error) {
				return engine.Result{}, fmt.Errorf("write a dump: %w", tc.errno)
			}), func(o *gpuworker.Options) {
				if tc.alone {
					o.NoGPUsAfter = -1
				}
			})
			s := f.until(key, func(s *proto.TaskState) bool { return s.State.Final() })
			require.Equal(t, proto.StateFailed, s.State)
			require.Len(t, s.Failures, tc.failures)
			first := s.Failures[0].Failure
			require.Equal(t, tc.code, first.Code)
			require.Contains(t, first.Hint, w.dir)
		})
	}
}
