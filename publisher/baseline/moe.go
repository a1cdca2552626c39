package baseline

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// What a template asks of a mixture of experts.

// LocalExperts is the number of this rank's experts, Experts that of all ranks'. A definition of one rank may have just one of them.
func (v *view) LocalExperts() int64 { return v.eitherAxis("num_local_experts", "num_experts") }

// Experts is the number of all ranks' experts.
func (v *view) Experts() int64 { return v.eitherAxis("num_experts", "num_local_experts") }

func (v *view) eitherAxis(name, other string) int64 {
	if _, ok := v.def.Axis(name); ok {
		return v.Axis(name)
	}
	return v.Axis(other)
}

// TopK is the number of experts a token is routed to, an axis of some definitions and in the name of all.
func (v *view) TopK() string {
	if k, ok := v.def.Const("top_k"); ok {
		return strconv.FormatInt(k, 10)
	}
	k := v.inName("topk")
	if k == "None" {
		v.bad = fmt.Errorf("neither an axis top_k nor its name tells how many experts a token is routed to")
	}
	return k
}

// Groups and TopGroups are the numbers of expert groups, and of those that a token is routed to; None without groups.
func (v *view) Groups() string { return v.inName("ng") }

// TopGroups is the number of groups that a token is routed to.
func (v *view) TopGroups() string { return v.inName("kg") }

// inName gives the number behind a word of the definition's name, such as 8 of ng8.
func (v *view) inName(word string) string {
	for part := range strings.SplitSeq(v.def.Name, "_") {
		if n, ok := strings.CutPrefix(part, word); ok {
			if _, err := strconv.ParseUint(n, 10, 31); err == nil {
				return n
			}
		}
	}
	return "None"
}

// FlashInfer's routing methods: how scores are made of logits, and experts chosen.
const (
	routingRenormalize = 1 // top-k, then softmax over the chosen
	routingDeepSeekV3  = 2 // sigmoid, bias, groups, top-k
	routingLlama4      = 3 // top-1, then sigmoid, which scales the expert's input
)

var routingMethod = regexp.MustCompile(`routing_method_type\s*=+\s*([0-9]+)`)

// Routing is FlashInfer's number of the routing method. Names tell it, or else references.
func (v *view) Routing() int {
	switch {
	case strings.Contains(v.def.Name, "_ds_routing"):
		return routingDeepSeekV3
	case strings.Contains(v.def.Name, "_renorm"):
		return routingRenormalize
	}
	m := routingMethod.FindStringSubmatch(v.def.Reference)
	if m == nil {
		v.bad = fmt.Errorf("neither its name (ds_routing, renorm) nor its reference (routing_method_type=N) tells how tokens are routed")
		return 0
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		v.bad = fmt.Errorf("its reference's routing_method_type: %w", err)
	}
	return n
}

// ScalesInput is a Python bool: whether an expert's weight scales what goes in, and not what comes out.
func (v *view) ScalesInput() string { return python(v.Routing() == routingLlama4) }
