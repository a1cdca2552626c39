package sglang

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/internal/reach"
	release "github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// Check implements engine.Checker. It compares the definitions with the model's configuration in its directory or in the Hugging Face
// cache of this node. A model that is not here yet, or whose configuration cannot be read, is left to SGLang.
func (e *Engine) Check(job engine.Job) *proto.Failure {
	why, source := misfits(&job)
	if len(why) == 0 || len(why) < len(job.Definitions) {
		return nil
	}
	return proto.Failf(proto.CodeModelMismatch, "the model cannot produce the definitions of task %s: %s", job.Task.ID, strings.Join(why, "; ")).
		WithHint("leave these definitions out, or choose another model, --tp, --ep or server flag; the model's sizes are from %s", source)
}

// misfits returns name and reason of each definition of a job that the model cannot produce under the task's ranks and flags.
// Under --skip-const-axis-check ranks are no reason.
func misfits(job *engine.Job) (why []string, source string) {
	spec := &job.Task.Engine
	flags, err := release.Settle(spec.SGLang, true, spec.ModelFlags, spec.Flags)
	if err != nil {
		return nil, "" // the launch reports it
	}
	path := traffic.ModelConfig(spec.ModelPath)
	if path == "" || flags.Has("revision") { // the cache may have the configuration of another revision
		return nil, ""
	}
	config, err := modelconfig.ReadFile(path, flags.Value("json_model_override_args"))
	if err != nil {
		return nil, ""
	}
	ranks := flags.Ranks(spec.TP, spec.EP)
	for _, d := range job.Definitions {
		given := reach.Ask(d, reach.Query{Release: spec.SGLang}) // the flags that the launch adds for its element types
		dtypes := modelconfig.Flags{
			DType: flags.Value("dtype"), Quantization: flags.Value("quantization"),
			KVCache: cmp.Or(flags.Value("kv_cache_dtype"), given.Value("--kv-cache-dtype")),
		}
		text := modelconfig.DTypes(d, config, dtypes)
		if demand := modelconfig.Fit(d, config); text == "" && len(ranks.Open) == 0 {
			if text = demand.Problem; text == "" && !job.Task.Dump.SkipConst {
				text = demand.Check(modelconfig.LayoutOf(ranks.TP, ranks.EP, ranks.MoEDP, ranks.AttentionTP()))
			}
		}
		if text != "" {
			why = append(why, fmt.Sprintf("%s: %s %s", d.Name, spec.ModelPath, text))
		}
	}
	slices.Sort(why)
	return why, path
}
