package tail_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/internal/fidump"
)

const (
	decodePlan = "BatchDecodeWithPagedKVCacheWrapper.plan"
	decodeRun  = "BatchDecodeWithPagedKVCacheWrapper.run"

	// As long as the real ones, since the logger repeats them in every record.
	planSignature = "(self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor, num_qo_heads: int, " +
		"num_kv_heads: int, head_dim: int, page_size: int, *deprecated_positional_args: Any, **kwargs: Any) -> None"
	runSignature = "(self, q: torch.Tensor, paged_kv_cache: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]], *args, " +
		"q_scale: Optional[float] = None, k_scale: Optional[float] = None, v_scale: Optional[float] = None, out: Optional[torch.Tensor] = None, " +
		"lse: Optional[torch.Tensor] = None, return_lse: bool = False, enable_pdl: Optional[bool] = None, window_left: Optional[int] = None, " +
		"sinks: Optional[torch.Tensor] = None, q_len_per_req: Optional[int] = None, skip_softmax_threshold_scale_factor: Optional[float] = None, " +
		"kv_cache_sf: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor], NoneType] = None) -> Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]"
)

// synth writes dumps of a decoding process: plan once, run once a layer.
type synth struct {
	t      testing.TB
	w      *fidump.Writer
	clock  time.Time
	rng    *rand.Rand
	batch  int
	length int // KV tokens a request, the most
	pool   int64
	ragged bool // runs are ragged prefill, with their log-sum-exp
}

func newSynth(t testing.TB, dir string, pid int64) *synth {
	return &synth{
		t: t, w: fidump.NewWriter(dir, pid, map[string]string{"torch": "2.11.0", "python": "3.11.7", "flashinfer": "0.7.2"}),
		clock: time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC), rng: rand.New(rand.NewPCG(uint64(pid), 7)), batch: 16, length: 64, pool: 4096,
	}
}

func (s *synth) begin(function, signature string, self int64, args ...fidump.Value) *fidump.Pending {
	s.t.Helper()
	s.clock = s.clock.Add(3 * time.Millisecond)
	args = append([]fidump.Value{fidump.ObjectArg("arg_0", "BatchDecodeWithPagedKVCacheWrapper", "<flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper object at 0x7f5a87e207d0>")}, args...)
	p, err := s.w.Begin(fidump.Call{Time: s.clock, Function: function, Module: "flashinfer.decode", Signature: signature, SelfID: self, Args: args})
	if err != nil {
		s.t.Error(err)
	}
	return p
}

func (s *synth) end(p *fidump.Pending, outputs ...fidump.Value) {
	s.t.Helper()
	if err := p.Return(outputs...); err != nil {
		s.t.Error(err)
	}
}

func (s *synth) beginPlan(self int64) *fidump.Pending {
	indptr, total := []int32{0}, int32(0)
	for range s.batch {
		total += 1 + s.rng.Int32N(int32(s.length))
		indptr = append(indptr, total)
	}
	indices, last := make([]int32, total), make([]int32, s.batch)
	for i := range indices {
		indices[i] = s.rng.Int32N(int32(s.pool))
	}
	for i := range last {
		last[i] = 1
	}
	return s.begin(decodePlan, planSignature, self, int32s("arg_1", indptr), int32s("arg_2", indices), int32s("arg_3", last),
		fidump.IntArg("arg_4", 32), fidump.IntArg("arg_5", 8), fidump.IntArg("arg_6", 128), fidump.IntArg("arg_7", 1),
		fidump.DTypeArg("kwarg_q_data_type", "bfloat16"))
}

func (s *synth) beginRun(self int64) *fidump.Pending {
	if s.ragged {
		kv := fidump.TensorArg("arg_2", "bfloat16", []int64{int64(s.batch), 8, 128}, nil)
		return s.begin("BatchPrefillWithRaggedKVCacheWrapper.run", runSignature, self,
			fidump.TensorArg("arg_1", "bfloat16", []int64{int64(s.batch), 32, 128}, nil), kv, fidump.BoolArg("kwarg_return_lse", true))
	}
	kv := []int64{s.pool, 8, 128}
	return s.begin(decodeRun, runSignature, self, fidump.TensorArg("arg_1", "bfloat16", []int64{int64(s.batch), 32, 128}, nil),
		fidump.TupleArg("arg_2", fidump.TensorArg("", "bfloat16", kv, nil), fidump.TensorArg("", "bfloat16", kv, nil)),
		fidump.NoneArg("kwarg_k_scale"), fidump.NoneArg("kwarg_v_scale"))
}

func (s *synth) plan(self int64) string {
	p := s.beginPlan(self)
	s.end(p)
	return p.Dir()
}

func (s *synth) run(self int64) string {
	p := s.beginRun(self)
	s.end(p, fidump.TensorArg("", "bfloat16", []int64{int64(s.batch), 32, 128}, nil))
	return p.Dir()
}

// step is a forward pass: one plan, a run a layer.
func (s *synth) step(self int64, layers int) {
	s.plan(self)
	for range layers {
		s.run(self)
	}
}

func int32s(key string, v []int32) fidump.Value {
	data := make([]byte, 4*len(v))
	for i, n := range v {
		binary.LittleEndian.PutUint32(data[4*i:], uint32(n))
	}
	return fidump.TensorArg(key, "int32", []int64{int64(len(v))}, data)
}
