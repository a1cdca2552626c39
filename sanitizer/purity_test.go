package sanitizer_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/sanitizer"
)

const largeTokens = 5000

func largeIndices() []byte {
	values := make([]int64, largeTokens+256)
	for i := range values {
		values[i] = int64((i * 7919) % 100003)
	}
	return bytesOf("int32", values...)
}

// largeDecode is a decode of three requests whose indices are beside the message.
func largeDecode() *proto.Manifest {
	m := sglangDecode()
	data := largeIndices()
	set(&m.Call, tensor("arg_2__0", "bfloat16", 100003, 2, 8))
	set(&m.Call, tensor("arg_2__1", "bfloat16", 100003, 2, 8))
	m.Plan.Tensors = []proto.Tensor{
		i32("arg_1", 0, 100, 200, largeTokens),
		{Key: "arg_2", DType: "int32", Shape: []int64{largeTokens + 256}, Digest: digest(data)},
		i32("arg_3", 1, 1, 1),
	}
	return m
}

func TestConvert_LargeTensors(t *testing.T) {
	t.Parallel()
	m, reads := largeDecode(), 0
	defs := []*fitrace.Definition{definition(t, decodePS1), definition(t, strings.Replace(decodePS1, "_ps1", "_ps1_again", 1))}
	out, err := sanitizer.Convert(m, defs, func(want string) ([]byte, error) {
		reads++
		return largeIndices(), nil
	})
	if err != nil || len(out.Verdict.Candidates) != 2 || reads != 1 {
		t.Fatalf("%d candidates after %d reads: %v", len(out.Verdict.Candidates), reads, err)
	}
	for _, c := range out.Verdict.Candidates {
		in := c.Inputs[4]
		if len(in.Inline) != 0 || len(out.Tensors[in.Digest]) != 4*largeTokens || digest(out.Tensors[in.Digest]) != in.Digest {
			t.Errorf("indices: %d inline, %d beside", len(in.Inline), len(out.Tensors[in.Digest]))
		}
	}
	if len(out.Tensors) != 1 {
		t.Errorf("%d tensors beside the verdict", len(out.Tensors))
	}
	lost := errors.New("lost")
	if _, err := sanitizer.Convert(m, defs, func(string) ([]byte, error) { return nil, lost }); !errors.Is(err, lost) || !strings.Contains(err.Error(), "plan's indices") {
		t.Errorf("error is %v", err)
	}
}

// TestConvert_ManyDefinitions: a call that fits very many definitions still fits in a message.
func TestConvert_ManyDefinitions(t *testing.T) {
	t.Parallel()
	m := sglangDecode()
	values := make([]int64, proto.InlineTensorBytes/4)
	for i := range values {
		values[i] = int64(i % 20)
	}
	m.Plan.Tensors[1] = i32("arg_2", values...)
	set(m.Plan, i32("arg_1", 0, 100, 200, int64(len(values))))
	var defs []*fitrace.Definition
	for range 300 {
		defs = append(defs, definition(t, strings.Replace(decodePS1, "_ps1", "_ps1_"+strings.Repeat("x", len(defs)%200)+string(rune('a'+len(defs)/200)), 1)))
	}
	out := convert(t, m, defs...)
	data, err := proto.Encode(&out.Verdict)
	if err != nil || len(out.Verdict.Candidates) != 300 {
		t.Fatalf("%d candidates in %d bytes: %v", len(out.Verdict.Candidates), len(data), err)
	}
	for _, c := range out.Verdict.Candidates {
		if in := c.Inputs[4]; len(in.Inline) == 0 && len(out.Tensors[in.Digest]) == 0 {
			t.Fatalf("%s has its indices nowhere", c.Definition)
		}
	}
}

// TestConvert_Pure: every manifest has the same bytes for an answer, whatever was converted before or beside it, and in
// whichever order its definitions and arguments come.
func TestConvert_Pure(t *testing.T) {
	t.Parallel()
	manifests := []*proto.Manifest{sglangDecode(), vllmDecode(), prefill(), slotPrefill(), ragged(), latent(false, 1, 1), latent(true, 2, 3), manifest(bmmCall())}
	texts := []string{decodePS1, decodePS4, prefillDefinition("4", "batch_size"), prefillDefinition("1", ""), raggedDefinition, mlaDecode, mlaPrefill, mlaPS4, bmm, rmsnorm}
	var defs []*fitrace.Definition
	for _, text := range texts {
		defs = append(defs, definition(t, text))
	}
	answer := func(m *proto.Manifest, defs []*fitrace.Definition) string {
		out, err := sanitizer.Convert(m, defs, noTensors)
		if err != nil {
			t.Error(err)
			return ""
		}
		data, err := proto.Encode(&out.Verdict)
		if err != nil {
			t.Error(err)
		}
		return string(data)
	}
	want := make([]string, len(manifests))
	for i, m := range manifests {
		want[i] = answer(m, defs)
	}
	var group sync.WaitGroup
	for seed := range uint64(8) {
		group.Go(func() {
			shuffle := rand.New(rand.NewPCG(seed, 1))
			for _, i := range shuffle.Perm(len(manifests)) {
				m := *manifests[i]
				calls := []*proto.Call{&m.Call}
				if m.Plan != nil {
					plan := *m.Plan
					m.Plan = &plan
					calls = append(calls, &plan)
				}
				for _, c := range calls {
					c.Values = slices.Clone(c.Values)
					shuffle.Shuffle(len(c.Values), func(a, b int) { c.Values[a], c.Values[b] = c.Values[b], c.Values[a] })
				}
				mixed := slices.Clone(defs)
				shuffle.Shuffle(len(mixed), func(a, b int) { mixed[a], mixed[b] = mixed[b], mixed[a] })
				if got := answer(&m, mixed); got != want[i] {
					t.Errorf("manifest %d, seed %d: another answer", i, seed)
				}
			}
		})
	}
	group.Wait()
}

// TestConvert_UUID: the uuid is of the content. Where a call came from does not change it; anything the dataset would hold of
// it does.
func TestConvert_UUID(t *testing.T) {
	t.Parallel()
	def := definition(t, decodePS1)
	first := accepted(t, sglangDecode(), def).UUID
	if first[14] != '5' {
		t.Errorf("uuid %s is not of version 5", first)
	}
	same := map[string]func(m *proto.Manifest){
		"another layer": func(m *proto.Manifest) { m.ID, m.Call.Dump, m.Call.Sequence = "0456", "other", 9 },
		"another rank":  func(m *proto.Manifest) { m.Call.PID, m.Provenance.Rank, m.Node = 2, 1, "elsewhere" },
		"other junk":    func(m *proto.Manifest) { set(m.Plan, i32("arg_2", 8, 9, 4, 12, 13, 14, 3)) },
		"another pool": func(m *proto.Manifest) {
			set(&m.Call, tensor("arg_2__0", "bfloat16", 90, 2, 8))
			set(&m.Call, tensor("arg_2__1", "bfloat16", 90, 2, 8))
		},
		"by keyword":     func(m *proto.Manifest) { drop(&m.Call, "arg_1"); set(&m.Call, tensor("kwarg_q", "bfloat16", 3, 4, 8)) },
		"scale in plan":  func(m *proto.Manifest) { set(m.Plan, value("kwarg_sm_scale", 0.35355339059327373)) },
		"another engine": func(m *proto.Manifest) { m.Provenance.Simulated, m.Task = true, "t009" },
	}
	for name, change := range same {
		m := sglangDecode()
		change(m)
		if got := accepted(t, m, def).UUID; got != first {
			t.Errorf("%s: another uuid", name)
		}
	}
	other := map[string]func(m *proto.Manifest){
		"another index":  func(m *proto.Manifest) { set(m.Plan, i32("arg_2", 8, 9, 5, 12, 13, 14)) },
		"another indptr": func(m *proto.Manifest) { set(m.Plan, i32("arg_1", 0, 1, 3, 6)) },
		"another scale":  func(m *proto.Manifest) { set(m.Plan, value("kwarg_sm_scale", 0.5)) },
	}
	seen := map[string]string{first: "as it is"}
	for name, change := range other {
		m := sglangDecode()
		change(m)
		got := accepted(t, m, def).UUID
		if seen[got] != "" {
			t.Errorf("%s has the uuid of %s", name, seen[got])
		}
		seen[got] = name
	}
	if got := accepted(t, sglangDecode(), definition(t, strings.Replace(decodePS1, "_ps1", "_ps1b", 1))).UUID; got == first {
		t.Error("another definition has the same uuid")
	}
	// The type of a number is content: JSON shows 1 and 1.0 apart.
	one, onePointZero := sglangDecode(), sglangDecode()
	set(one.Plan, value("kwarg_sm_scale", 1))
	set(onePointZero.Plan, value("kwarg_sm_scale", 1.0))
	if accepted(t, one, def).UUID == accepted(t, onePointZero, def).UUID {
		t.Error("1 and 1.0 have one uuid")
	}
}

// TestConvert_NoDefinition: a call that nobody asked for is one rejection of no definition.
func TestConvert_NoDefinition(t *testing.T) {
	t.Parallel()
	m := sglangDecode()
	rejected(t, m, definition(t, rmsnorm), sanitizer.RejectNoDefinition, "BatchDecodeWithPagedKVCacheWrapper.run")
	m.Defect = &proto.Defect{Reason: proto.DefectIncomplete, Detail: "no metadata"}
	rejected(t, m, definition(t, rmsnorm), proto.DefectIncomplete, "no metadata")
	out := convert(t, m)
	if len(out.Verdict.Rejections) != 1 || out.Verdict.Rejections[0].Definition != "" {
		t.Errorf("rejections %+v", out.Verdict.Rejections)
	}
}

// TestConvert_Hostile: no manifest that the contract lets through makes Convert panic.
func TestConvert_Hostile(t *testing.T) {
	t.Parallel()
	defs := []*fitrace.Definition{definition(t, decodePS1), definition(t, decodePS4), definition(t, prefillDefinition("4", "len_indptr")), definition(t, raggedDefinition), definition(t, mlaPS4)}
	// Definitions that use the names of structure for something else.
	for old, odd := range map[string]string{
		"q[batch_size,num_qo_heads,head_dim]": "q", "kv_indptr[len_indptr]:int32": "kv_indptr:int32", "kv_indices[num_kv_indices]:int32": "kv_indices[num_kv_indices]:float32",
		"kv_last_page_len[batch_size]": "kv_last_page_len", "sm_scale:": "sm_scale[batch_size]:", "kv_indptr[len_indptr]": "kv_indptr[len_indptr,batch_size]",
		"k_cache[num_pages,page_size,num_kv_heads,head_dim]": "k_cache", "v_cache[num_pages,page_size,num_kv_heads,head_dim]": "v_cache[num_pages]",
	} {
		defs = append(defs, definition(t, strings.NewReplacer(old, odd, "_ps4", "_odd").Replace(decodePS4)))
	}
	for seed := range uint64(4000) {
		r := rand.New(rand.NewPCG(seed, 2))
		d := defs[r.IntN(len(defs))]
		m := []func() *proto.Manifest{sglangDecode, vllmDecode, prefill, ragged, func() *proto.Manifest { return latent(true, 1, 2) }}[r.IntN(5)]()
		for range 1 + r.IntN(4) {
			c := []*proto.Call{&m.Call, m.Plan}[r.IntN(2)]
			if len(c.Tensors) == 0 {
				continue
			}
			x := &c.Tensors[r.IntN(len(c.Tensors))]
			switch r.IntN(7) {
			case 0:
				x.Shape = nil
			case 1:
				x.Shape = append(slices.Clone(x.Shape), int64(r.IntN(3)))
			case 2:
				*x = i32(x.Key)
			case 3:
				*x = i32(x.Key, int64(r.IntN(9)), -int64(r.Uint32()), int64(r.Uint32()>>1))
			case 4:
				x.Key = []string{"arg_", "kwarg_", "arg_-1", "arg_99999999999999999999", "kwarg___0", "arg_2__0__1", "x"}[r.IntN(7)]
			case 5:
				x.DType = []string{"", "int8", "bool", "int64", "float8_e5m2"}[r.IntN(5)]
			case 6:
				c.Signature = []string{"", "(", "(self, q: Dict[str, int] = {'a': 1, 'b': ')'}, *args)", "(=)", "(*)", "nonsense", "(a, /, b)"}[r.IntN(7)]
			}
		}
		if out, err := sanitizer.Convert(m, []*fitrace.Definition{d}, noTensors); err == nil {
			if err := out.Verdict.Validate(); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
	}
}

// TestConvert_StructuralNumber: a definition that wants a number under a structural name gets one.
func TestConvert_StructuralNumber(t *testing.T) {
	t.Parallel()
	m := vllmDecode()
	set(m.Plan, value("kwarg_indptr", 3))
	def := definition(t, strings.NewReplacer("kv_indptr[len_indptr]", "kv_indptr", "len_indptr num", "num", "len_indptr == batch_size + 1; num_kv_indices == kv_indptr[-1].item()", "kv_indptr == 3").Replace(decodePS4))
	if got := inputs(t, accepted(t, m, def)); !strings.Contains(got, "kv_indptr=3 ") {
		t.Errorf("inputs %s", got)
	}
}

// TestConvert_UUIDPinned: a dataset written by one release is recognised by the next.
func TestConvert_UUIDPinned(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]*proto.Candidate{
		"814b8b7a-0b6b-5fa1-85b2-00b148fd954a": accepted(t, sglangDecode(), definition(t, decodePS1)),
		"3e8c0350-db69-51ae-99f3-1c5ae98b2ab3": accepted(t, vllmDecode(), definition(t, decodePS4)),
		"fd3cadf1-3d87-550d-82cf-f234604cbec0": accepted(t, manifest(bmmCall()), definition(t, bmm)),
	} {
		if c.UUID != want {
			t.Errorf("%s has uuid %s, must keep %s", c.Definition, c.UUID, want)
		}
	}
}

func FuzzConvert(f *testing.F) {
	f.Add(decodeRunSig, "arg_2__0", "bfloat16", int64(20), int64(2), []byte{1, 0, 0, 0})
	f.Add(decodePlanSig, "arg_2", "int32", int64(8), int64(1), []byte{})
	f.Add("(self, a='(', *, b: int = <x: 1>)", "kwarg_x__value_1", "bool", int64(-1), int64(1<<62), []byte{7})
	text := []string{decodePS1, decodePS4, prefillDefinition("4", "len_indptr"), raggedDefinition, mlaPS4, rmsnorm, odd}
	var defs []*fitrace.Definition
	for _, s := range text {
		defs = append(defs, definition(f, s))
	}
	f.Fuzz(func(t *testing.T, signature, key, dtype string, a, b int64, content []byte) {
		extra := proto.Tensor{Key: key, DType: dtype, Shape: []int64{a, b}, Inline: content, Digest: digest(content)}
		flat := extra
		flat.Shape = []int64{int64(len(content)) / 4}
		for _, base := range []*proto.Manifest{sglangDecode(), prefill(), ragged(), latent(true, 1, 2), manifest(call("odd_dtype_op", oddSig))} {
			for _, x := range []proto.Tensor{extra, flat} {
				for _, inPlan := range []bool{false, true} {
					m := *base
					c := &m.Call
					if m.Plan != nil {
						plan := *m.Plan
						m.Plan = &plan
						if inPlan {
							c = &plan
						}
					}
					set(c, x)
					c.Signature = signature
					out, err := sanitizer.Convert(&m, defs, noTensors)
					if err != nil {
						continue
					}
					if len(out.Verdict.Candidates)+len(out.Verdict.Rejections) == 0 {
						t.Error("no answer")
					}
				}
			}
		}
	})
}
