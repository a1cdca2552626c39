package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/proto"
)

type fake struct{}

func (fake) Run(context.Context, engine.Job, func(engine.Progress)) (engine.Result, error) {
	return engine.Result{}, nil
}

func TestRegistry_Select(t *testing.T) {
	t.Parallel()
	r := engine.Registry{proto.EngineReplay: fake{}, proto.EngineSimulate: fake{}}
	got, err := r.Select(proto.EngineReplay)
	require.NoError(t, err)
	require.Equal(t, fake{}, got)

	_, err = r.Select(proto.EngineSGLang)
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, proto.CodeEngineUnavailable, f.Code)
	require.Contains(t, f.Message, "only replay, simulate")
	require.True(t, f.Retryable, "another worker may have it")

	_, err = engine.Registry(nil).Select(proto.EngineReplay)
	require.ErrorContains(t, err, "has none")
}

func TestJob_Wait(t *testing.T) {
	t.Parallel()
	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	job := engine.Job{}
	require.NoError(t, job.Wait(ctx))
	job.Gate = func(context.Context) error { return stop }
	require.ErrorIs(t, job.Wait(ctx), stop)
	job.Gate = nil
	cancel(stop)
	require.ErrorIs(t, job.Wait(ctx), stop)
}
