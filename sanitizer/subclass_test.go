package sanitizer_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

// renamed is m with the class of both calls replaced, as the logger writes it for an object of a subclass.
func renamed(m *proto.Manifest, class string) *proto.Manifest {
	for _, c := range []*proto.Call{&m.Call, m.Plan} {
		_, method, _ := strings.Cut(c.Function, ".")
		c.Function = class + "." + method
	}
	return m
}

// TestConvert_SubclassOfAWrapper_FitsTheWrappersDefinition: a run, and a plan that stands for it.
func TestConvert_SubclassOfAWrapper_FitsTheWrappersDefinition(t *testing.T) {
	t.Parallel()
	const class = "CUDAGraphBatchDecodeWithPagedKVCacheWrapper"
	def := definition(t, decodePS1)
	want := accepted(t, sglangDecode(), def)
	require.True(t, same(want, accepted(t, renamed(sglangDecode(), class), def)))
	require.True(t, same(want, accepted(t, implied(renamed(typed(sglangDecode(), "kwarg_q_data_type", "kwarg_data_type"), class)), def)))
	rejected(t, renamed(sglangDecode(), "OtherWrapper"), def, sanitizer.RejectNoDefinition, "")

	// Without a signature, positions are those of the wrapper.
	m := renamed(sglangDecode(), class)
	m.Call.Signature, m.Plan.Signature = "", ""
	require.True(t, same(want, accepted(t, m, def)))
}

// TestConvert_AttentionSinkWrapper_TakesItsOwnScale: sinks and sm_scale come behind the cache, in *args; sinks are noted.
func TestConvert_AttentionSinkWrapper_TakesItsOwnScale(t *testing.T) {
	t.Parallel()
	m := renamed(sglangDecode(), "BatchDecodeWithAttentionSinkWrapper")
	m.Call.Signature = "(self, q: torch.Tensor, paged_kv_cache: torch.Tensor, *args, q_scale: Optional[float] = None) -> torch.Tensor"
	set(&m.Call, tensor("arg_3", "float32", 4))
	set(&m.Call, value("arg_4", 0.135))
	c := accepted(t, m, definition(t, decodePS1))
	require.True(t, strings.HasSuffix(inputs(t, c), "sm_scale=0.135"), inputs(t, c))
	require.Contains(t, strings.Join(c.Notes, "; "), "run's sinks is not part of the workload")
}
