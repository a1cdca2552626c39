package fitrace

import (
	"slices"
	"strings"
)

// subclass is a FlashInfer class that inherits plan and run from a wrapper. The logger writes the object's own class name.
type subclass struct {
	name, base string
	same       bool // it computes what base computes, so that its plan stands for its runs as base's does
}

// subclasses lists those in the sources of FlashInfer 0.6.14, 0.7.2.post1 and 0.7.4. BatchPrefillWithCausalBidirectionalRangesWrapper is
// left out: its mask is not causal, and its run is not logged.
var subclasses = []subclass{
	{"CUDAGraphBatchDecodeWithPagedKVCacheWrapper", "BatchDecodeWithPagedKVCacheWrapper", true},
	{"BatchDecodeWithAttentionSinkWrapper", "BatchDecodeWithPagedKVCacheWrapper", false},
	{"BatchAttentionWithAttentionSinkWrapper", "BatchPrefillWithPagedKVCacheWrapper", false},
}

// BaseFunction returns a logged name with the class that defines the method: "BatchDecodeWithPagedKVCacheWrapper.run" for
// "CUDAGraphBatchDecodeWithPagedKVCacheWrapper.run". Any other name is returned as it is.
func BaseFunction(function string) string {
	class, method, ok := strings.Cut(function, ".")
	if !ok {
		return function
	}
	for _, s := range subclasses {
		if s.name == class {
			return s.base + "." + method
		}
	}
	return function
}

// PlannedAs returns the class whose plans stand for runs as those of class do: its base if both compute the same, else class itself. A
// wrapper with attention sinks passes its scale to run, which its plan does not show.
func PlannedAs(class string) string {
	for _, s := range subclasses {
		if s.name == class && s.same {
			return s.base
		}
	}
	return class
}

// withSubclasses appends the names that subclasses log for the functions in patterns.
func withSubclasses(patterns []string) []string {
	out := slices.Clone(patterns)
	for _, p := range patterns {
		class, method, _ := strings.Cut(p, ".")
		for _, s := range subclasses {
			if s.base == class {
				out = append(out, s.name+"."+method)
			}
		}
	}
	return out
}
