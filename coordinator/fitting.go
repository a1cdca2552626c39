package coordinator

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

// newSetting returns the setting of an engine, with its model's configuration and its flags read once.
func newSetting(engine proto.EngineSpec, dump string, skipConst bool) setting {
	s := setting{engine: engine, dump: dump, skipConst: skipConst}
	if !s.sglang() {
		return s
	}
	// Flags that the release does not take are an error of the launch, which names them.
	s.flags, _ = sglang.Settle(engine.SGLang, engine.AnyRelease, engine.ModelFlags, engine.Flags)
	if engine.ModelConfig != "" {
		s.model, _ = modelconfig.Parse([]byte(engine.ModelConfig), "")
	}
	return s
}

// demand returns the ranks under which the model produces a definition, and false if they are unknown: the configuration is not
// available, or a flag divides heads and experts in ways that are not modelled.
func (s setting) demand(d *fitrace.Definition) (modelconfig.Demand, bool) {
	if s.model == nil {
		return modelconfig.Demand{}, false
	}
	if open := s.flags.Ranks(1, 1).Open; len(open) > 0 {
		return modelconfig.Demand{Unchecked: []string{"ranks, which " + strings.Join(open, ", ") + " divides further"}}, false
	}
	return modelconfig.Fit(d, s.model), true
}

// divide sets the ranks that a definition needs. Where the model's configuration is known they follow from definition ÷ model, and a
// tp: or ep: tag chooses among several, or is a preference of a definition that fits any ranks; else the tags decide.
func (s setting) divide(d *fitrace.Definition, n *Need) {
	demand, known := s.demand(d)
	if !known || demand.Problem != "" {
		return
	}
	tagged := *n
	n.TP, n.EP, n.hintTP = 0, 0, tagged.TP
	r := s.flags.Ranks(1, 1)
	var fit []int
	for _, tp := range demand.AttentionTP {
		fit = append(fit, tp*r.AttnDP*r.AttnCP)
	}
	for _, tp := range []int{s.engine.TP, tagged.TP, catalogued(s.engine.ModelFlags).TP} {
		if n.TP == 0 && slices.Contains(fit, tp) {
			n.TP = tp
		}
	}
	if n.TP == 0 && len(fit) > 0 {
		n.TP = fit[0]
	}
	if n.EP = demand.EP; n.EP > 0 && demand.MoETP > 0 {
		n.TP = n.EP * demand.MoETP * r.MoEDP
	}
	n.fromModel = true
	for _, t := range []struct {
		tag          string
		tagged, from int
	}{{"tp", tagged.TP, n.TP}, {"ep", tagged.EP, n.EP}} {
		if t.tagged != 0 && t.from != 0 && t.tagged != t.from {
			n.notes = append(n.notes, fmt.Sprintf("the tag %s:%d disagrees with the model, which needs --%s %d: the model is used", t.tag, t.tagged, t.tag, t.from))
		}
	}
}

// misfit returns why the calls of a definition cannot have its const axes and element types, or "". explicit reports that only the
// ranks that --tp or --ep names are in the way, which --skip-const-axis-check accepts.
func (s setting) misfit(d *fitrace.Definition) (why string, explicit bool) {
	if dtype := modelconfig.DTypes(d, s.model, s.dtypes(d)); dtype != "" {
		return dtype, false
	}
	demand, known := s.demand(d)
	if !known {
		return "", false
	}
	if demand.Problem != "" {
		return fmt.Sprintf("%s %s", s.modelName(), demand.Problem), false
	}
	if s.engine.TP == 0 && s.engine.EP == 0 {
		return "", false
	}
	n := Need{TP: d.TP(), EP: d.EP()}
	s.divide(d, &n)
	tp, ep := cmp.Or(s.engine.TP, n.TP), cmp.Or(s.engine.EP, n.EP)
	settled := s.settle(Need{TP: tp, EP: ep})
	if why := s.check(demand, settled); why != "" {
		return fmt.Sprintf("%s with --tp %d --ep %d %s", s.modelName(), settled.TP, settled.EP, why), true
	}
	return "", false
}

func (s setting) check(demand modelconfig.Demand, n Need) string {
	r := s.flags.Ranks(n.TP, n.EP)
	return demand.Check(modelconfig.LayoutOf(r.TP, r.EP, r.MoEDP, r.AttentionTP()))
}

// dtypes returns the flags that decide the element types of d's calls: the user's, else those that its calls are given.
func (s setting) dtypes(d *fitrace.Definition) modelconfig.Flags {
	a := s.ask(d, 0, true)
	return modelconfig.Flags{
		DType: s.flags.Value("dtype"), Quantization: s.flags.Value("quantization"),
		KVCache: cmp.Or(s.flags.Value("kv_cache_dtype"), a.Value("--kv-cache-dtype")),
	}
}

func (s setting) modelName() string {
	return cmp.Or(s.engine.ModelKey, s.engine.ModelPath, "the model")
}

// byCatalogue returns the catalogue's entry that the model's sizes are from, in words that follow a statement about them, or "": then
// they are from the model's own config.json, or not known.
func (s setting) byCatalogue() string {
	if from := s.engine.ModelSource; from != "" && from != filepath.Join(s.engine.ModelPath, "config.json") {
		return ", by " + from
	}
	return ""
}

// fitting parts defs into those whose calls can have their const axes and element types, as far as is known, and those whose calls
// cannot. Of the latter, named ones are refused together: the error is a *proto.Failure with code model_mismatch. Those that only a
// wide selection brought are left out and counted.
func (s setting) fitting(defs []*fitrace.Definition, named func(string) bool) (usable []*fitrace.Definition, left, notes []string, err error) {
	if !s.sglang() {
		return defs, nil, nil, nil
	}
	refused, aside, said := map[string][]string{}, map[string][]string{}, map[string][]string{}
	for _, d := range defs {
		why, explicit := s.misfit(d)
		switch {
		case why == "" || explicit && s.skipConst:
			usable = append(usable, d)
			n := Need{TP: d.TP(), EP: d.EP()}
			s.divide(d, &n)
			if why != "" {
				n.notes = append(n.notes, why+"; --skip-const-axis-check accepts that")
			}
			for _, note := range n.notes {
				said[note] = append(said[note], d.Name)
			}
		case named(d.Name):
			refused[why] = append(refused[why], d.Name)
		default:
			aside[why] = append(aside[why], d.Name)
		}
	}
	for _, note := range slices.Sorted(maps.Keys(said)) {
		notes = append(notes, some(said[note])+": "+note)
	}
	total := 0
	for _, why := range slices.Sorted(maps.Keys(aside)) {
		total += len(aside[why])
		left = append(left, fmt.Sprintf("%s, because %s: %s", counted(len(aside[why])), why, some(aside[why])))
	}
	if total > 0 {
		left = append([]string{fmt.Sprintf("%d of %d definitions do not fit %s%s", total, len(defs), s.modelName(), s.byCatalogue())}, left...)
	}
	var reasons []string
	for _, why := range slices.Sorted(maps.Keys(refused)) {
		reasons = append(reasons, strings.Join(refused[why], ", ")+": "+why)
	}
	if len(usable) == 0 && len(reasons) == 0 {
		reasons = left
	}
	if len(reasons) > 0 {
		fail := proto.Failf(proto.CodeModelMismatch, "the model cannot produce the selected definitions%s: %s", s.byCatalogue(), strings.Join(reasons, "; "))
		hint := "leave these definitions out, or choose another model, --tp, --ep or server flag"
		switch {
		case s.byCatalogue() != "":
			hint += "; a local --model-path is read instead of the catalogue"
		case s.engine.ModelSource != "":
			hint += "; the model's sizes are from " + s.engine.ModelSource
		}
		return nil, left, notes, fail.WithHint("%s", hint)
	}
	return usable, left, notes, nil
}

// unchecked returns the definitions of a task that were not compared with the model, each with the reason.
func (s setting) unchecked(defs []*fitrace.Definition) []string {
	if !s.sglang() {
		return nil
	}
	var list []string
	for _, d := range defs {
		demand, _ := s.demand(d)
		switch {
		case s.model == nil:
			list = append(list, fmt.Sprintf("%s: the configuration of %s is not available", d.Name, cmp.Or(s.engine.ModelPath, "the model")))
		case len(demand.Unchecked) > 0:
			list = append(list, fmt.Sprintf("%s: %s", d.Name, strings.Join(demand.Unchecked, ", ")))
		}
	}
	return list
}
