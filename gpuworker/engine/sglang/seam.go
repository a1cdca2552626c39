package sglang

import (
	"fmt"
	"strconv"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/proto"
)

type plan struct {
	args     []string
	keywords map[string]any
	env      []string
	ready    string
	host     string
	port     int
	notes    []string
}

func (p *plan) offline() bool { return p.keywords != nil }

func (e *Engine) plan(job *engine.Job, n *node) (*plan, error) {
	t := &job.Task
	if t.Engine.Mode == proto.ModeOffline {
		return &plan{keywords: map[string]any{"model_path": t.Engine.ModelPath, "attention_backend": "flashinfer", "disable_cuda_graph": true, "skip_tokenizer_init": true, "disable_flashinfer_autotune": true}}, nil
	}
	port := t.Engine.Port
	if port == 0 {
		port, _ = freePort(nil, "127.0.0.1")
	}
	p := &plan{port: port, ready: "/model_info", env: []string{"SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION=0"}}
	p.args = append([]string{"-m", "sglang.launch_server", "--model-path", t.Engine.ModelPath, "--attention-backend", "flashinfer", "--disable-cuda-graph",
		"--skip-server-warmup", "--disable-flashinfer-autotune", "--skip-tokenizer-init", "--host", "127.0.0.1", "--port", strconv.Itoa(port)}, t.Engine.Flags...)
	_ = fmt.Sprint(n)
	return p, nil
}
