package manifest

import (
	"maps"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Role is what a dumped call is in a collection's accounts.
type Role uint8

// The roles. Each dump has one; a defective dump is a Run, since a verdict must come for it.
const (
	Run     Role = iota // becomes a manifest
	Plan                // travels with the runs it plans
	Capture             // a call recorded into a CUDA graph: only its replays have values
	Implied             // a plan that becomes a manifest itself: it stands for the runs after it, which are not dumped
)

// Dump is one dump directory, or one graph replay below it, as read.
type Dump struct {
	Call     proto.Call
	Role     Role
	Defect   *proto.Defect     // why the call could not be read; Call then has what follows from the directory's name
	Versions map[string]string // of python, torch, flashinfer, as logged
	Tensors  map[string][]byte // by digest: content of the tensors over proto.InlineTensorBytes

	// Loose reports that the dump's place in the call order comes from its time alone, which does not order calls of one
	// millisecond: the session log has no line of it. Set by who orders.
	Loose bool

	// GapAfter reports of a plan that later plan calls of its class, before the next one in the directory, are not in it. Set by
	// who orders, where all calls are known beforehand.
	GapAfter bool

	// Early reports that the call was made before the first request of the traffic: it never becomes a workload. Set by MakeEarly.
	Early bool

	Unlogged  bool  // an argument is an object whose tensors the logger did not write
	BytesRead int64 // of metadata, header and tensors
	BytesSeen int64 // sizes of the dump's files
	BytesDisk int64 // blocks that the files take; less than their sizes where they are sparse
}

// Imply makes a plan of one of the wrapper classes, or of a subclass that is planned as one, stand for the runs after it. What is no
// readable plan stays what it is.
func (d *Dump) Imply(classes []string) {
	if class, _ := method(d.Call.Function); d.Role == Plan && slices.Contains(classes, fitrace.PlannedAs(class)) {
		d.Role = Implied
	}
}

// MakeEarly marks a dump as made before the first request of ours. Where a verdict must come for it, the verdict is that.
func (d *Dump) MakeEarly() {
	d.Early = true
	if d.Role == Run || d.Role == Implied {
		d.spoil(proto.DefectNoTraffic, d.Call.Dump+": made before the first request: warm-up, autotune or graph capture")
		d.Call.Values = nil
	}
}

// method splits a logged name into class and method; class is empty for a plain function.
func method(function string) (class, name string) {
	if at := strings.LastIndexByte(function, '.'); at >= 0 {
		return function[:at], function[at+1:]
	}
	return "", function
}

// isPlan reports whether a logged name is that of a wrapper's plan. begin_forward is the older name, which releases before
// 0.2 log as such.
func isPlan(function string) bool {
	class, name := method(function)
	return strings.Contains(class, "Wrapper") && (name == "plan" || name == "begin_forward")
}

// isInit reports whether a logged name is that of a wrapper's constructor.
func isInit(function string) bool {
	class, name := method(function)
	return strings.Contains(class, "Wrapper") && name == "__init__"
}

// needsPlan reports whether a logged name is that of a call which means nothing without its plan.
func needsPlan(function string) bool {
	class, name := method(function)
	if !strings.Contains(class, "Wrapper") {
		return false
	}
	switch name {
	case "run", "run_return_lse", "forward", "forward_return_lse":
		return true
	}
	return false
}

// PlansAlone returns the wrapper classes of which plans were dumped and no run, in whatever state, with the number of plans. A subclass that
// is planned as its base counts for the base.
func PlansAlone(names []fidump.Name) map[string]int {
	plans, run := map[string]int{}, map[string]bool{}
	for _, n := range names {
		class, _ := method(n.Function)
		class = fitrace.PlannedAs(class)
		switch {
		case isPlan(n.Function):
			plans[class]++
		case needsPlan(n.Function):
			run[class] = true
		}
	}
	maps.DeleteFunc(plans, func(class string, _ int) bool { return run[class] })
	return plans
}

// returnsLSE reports whether the call was asked for its log-sum-exp: what merging halves of an attention needs.
func (d *Dump) returnsLSE() bool {
	if _, name := method(d.Call.Function); strings.HasSuffix(name, "_return_lse") {
		return true
	}
	for i := range d.Call.Values {
		if v := &d.Call.Values[i]; v.Key == "kwarg_return_lse" {
			return v.Type == proto.ValueBool && v.Bool
		}
	}
	return false
}

// rows gives the query rows of an attention call, -1 where it has no query.
func (d *Dump) rows() int64 {
	if q := d.tensor("arg_1", "kwarg_q", "kwarg_q_nope"); q != nil && len(q.Shape) > 0 {
		return q.Shape[0]
	}
	return -1
}

// tensor gives the first tensor of one of the keys.
func (d *Dump) tensor(keys ...string) *proto.Tensor {
	for _, key := range keys {
		for i := range d.Call.Tensors {
			if d.Call.Tensors[i].Key == key {
				return &d.Call.Tensors[i]
			}
		}
	}
	return nil
}
