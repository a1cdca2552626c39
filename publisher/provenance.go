package publisher

import (
	"cmp"
	"encoding/json"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// sourceOf returns what the dataset may state of a call's origin: nothing that names a host, a path or an attempt. uuid,
// collection, task and the counts are not set.
func sourceOf(p *proto.Provenance) dataset.Provenance {
	s := dataset.Provenance{
		Engine: dataset.Text(p.Served.Engine), EngineRelease: dataset.Text(p.Served.Release), FlashInfer: dataset.Text(p.Versions["flashinfer"]),
		Model: dataset.Text(modelName(p.Model)), GPU: dataset.Text(p.GPU), TensorParallel: dataset.Number(p.TP), ExpertParallel: dataset.Number(p.EP),
		BatchSize: dataset.Number(p.BatchSize), Traffic: trafficSent(p), Simulated: p.Simulated, Mode: modeOf(p), Stated: slices.Clone(p.Stated),
	}
	return s
}

// modeOf returns how the engine was driven. The mode of a replay's task is how a live engine would be driven, not how the
// recorded one was, unless the user stated it.
func modeOf(p *proto.Provenance) dataset.Text {
	if p.Mode == proto.ModeAny || p.Engine == proto.EngineReplay && !slices.Contains(p.Stated, proto.StatedMode) {
		return ""
	}
	return dataset.Text(p.Mode)
}

// modelName returns the name of a model: of a path the last element, of a repository owner/name.
func modelName(model string) string {
	local := path.IsAbs(model) || strings.HasPrefix(model, ".") || strings.HasPrefix(model, "~") || strings.Count(model, "/") > 1 || strings.HasSuffix(model, "/")
	if !local {
		return model
	}
	name := path.Base(model)
	if strings.Trim(name, "./~") == "" {
		return ""
	}
	return name
}

func trafficSent(p *proto.Provenance) *dataset.Traffic {
	t := p.Traffic
	if t == nil {
		return nil
	}
	s := &dataset.Traffic{
		Dataset: cmp.Or(t.Dataset, "random"), Requests: cmp.Or(t.Requests, p.BatchSize*max(t.NumBatches, 1)), Seed: t.Seed, Chat: t.Chat,
		IgnoreEOS: !t.DisableIgnoreEOS, PrefixCache: !t.DisableRadix,
	}
	if s.Dataset == "trace" {
		s.TraceSpeed = t.TraceSpeed
	} else {
		s.ISL, s.OSL = dataset.Number(t.ISL), dataset.Number(t.OSL)
	}
	if s.Dataset == "random" {
		ratio := t.RangeRatio
		s.RangeRatio = &ratio
	}
	if prefills(p.Mode) {
		s.OSL = dataset.Number(t.OSL)
	}
	return s
}

// prefills reports whether requests are cut at OSL whatever the dataset: planning sets it to one token, or to two where a decode step is
// needed.
func prefills(m proto.EngineMode) bool { return m == proto.ModeHTTPPaged || m == proto.ModeHTTPRagged }

// agree returns the fields on which two sources agree; the others are unknown. The result does not depend on the order in which
// sources are combined.
func agree(a, b dataset.Provenance) dataset.Provenance {
	same(&a.Engine, b.Engine)
	same(&a.EngineRelease, b.EngineRelease)
	same(&a.FlashInfer, b.FlashInfer)
	same(&a.Model, b.Model)
	same(&a.GPU, b.GPU)
	same(&a.TensorParallel, b.TensorParallel)
	same(&a.ExpertParallel, b.ExpertParallel)
	same(&a.BatchSize, b.BatchSize)
	same(&a.Mode, b.Mode)
	if !reflect.DeepEqual(a.Traffic, b.Traffic) {
		a.Traffic = nil
	}
	a.Simulated = a.Simulated || b.Simulated // a set that has both is refused, see unmixed
	a.Stated = append(slices.Clone(a.Stated), b.Stated...)
	return a
}

// same sets *a to unknown (zero) unless it equals b.
func same[T comparable](a *T, b T) {
	if *a != b {
		var unknown T
		*a = unknown
	}
}

// statedOf returns the sorted names of the stated fields that the line has. A stated engine carries its release.
func statedOf(p dataset.Provenance) ([]string, error) {
	names := slices.Clone(p.Stated)
	if slices.Contains(names, proto.StatedEngine) {
		names = append(names, "engine_release")
	}
	slices.Sort(names)
	p.Stated = nil
	line, err := p.MarshalLine()
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return fields[name] == nil }), nil
}

// provenanceLine returns the line of a workload.
func provenanceLine(c *Content, q Request, shape int) (string, error) {
	p := c.source
	p.UUID, p.Collection, p.Task = c.UUID, dataset.Text(q.Collection), dataset.Text(q.Task)
	p.CallsWithContent, p.CallsWithShape = c.Manifests, shape
	var err error
	if p.Stated, err = statedOf(p); err != nil {
		return "", err
	}
	line, err := p.MarshalLine()
	return string(line), err
}
