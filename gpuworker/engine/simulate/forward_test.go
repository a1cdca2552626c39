package simulate_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
	"github.com/tracefleet/tracefleet/gpuworker/engine/enginetest"
	"github.com/tracefleet/tracefleet/gpuworker/engine/simulate"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/proto"
)

// dump is a dump as a reader sees it.
type dump struct {
	*fidump.Record
	name  fidump.Name
	shape map[string][]int64
	ints  map[string][]int32
	rates []float32 // of top_p
}

// simulated runs a task and reads what it dumped, in call order.
func simulated(t *testing.T, mode proto.EngineMode, change func(*proto.Task), names ...string) []dump {
	t.Helper()
	defs := enginetest.Definitions(t, names...)
	task := enginetest.Task(proto.EngineSimulate, mode, defs)
	if change != nil {
		change(&task)
	}
	job := engine.Job{Task: task, Definitions: defs, DumpDir: t.TempDir(), Log: zerolog.Nop()}
	result, err := simulate.New().Run(t.Context(), job, func(engine.Progress) {})
	require.NoError(t, err)
	require.True(t, result.Simulated)
	require.EqualValues(t, task.BatchSize*task.Traffic.NumBatches, result.Requests)
	return readAll(t, job.DumpDir)
}

func readAll(t *testing.T, dir string) []dump {
	t.Helper()
	names, err := fidump.List(dir)
	require.NoError(t, err)
	var list []dump
	for _, name := range enginetest.Dumps(t, dir) {
		path := filepath.Join(dir, name)
		rec, _, err := fidump.ReadRecord(filepath.Join(path, fidump.MetadataFile))
		if err != nil || rec == nil {
			continue
		}
		n, _ := fidump.ParseName(name)
		d := dump{Record: rec, name: n, shape: map[string][]int64{}, ints: map[string][]int32{}}
		in, err := fidump.OpenInputs(path, rec)
		if err != nil {
			continue
		}
		for _, tensor := range in.Tensors() {
			d.shape[tensor.Key] = tensor.Shape
			rates := n.Function == "top_k_top_p_sampling_from_probs" && tensor.Key == "arg_2"
			if tensor.DType != "int32" && !rates {
				continue
			}
			data, err := in.Read(tensor.Key)
			require.NoError(t, err)
			for i := 0; i < len(data); i += 4 {
				if bits := binary.LittleEndian.Uint32(data[i:]); rates {
					d.rates = append(d.rates, math.Float32frombits(bits))
				} else {
					d.ints[tensor.Key] = append(d.ints[tensor.Key], int32(bits))
				}
			}
		}
		require.NoError(t, in.Close())
		list = append(list, d)
	}
	slices.SortStableFunc(list, func(a, b dump) int { return a.name.Compare(b.name) })
	require.LessOrEqual(t, len(list), len(names))
	return list
}

func of(list []dump, function string) []dump {
	return slices.DeleteFunc(slices.Clone(list), func(d dump) bool { return d.FunctionName != function })
}

// planOf gives the latest plan of the run's wrapper.
func planOf(t *testing.T, list []dump, run dump) dump {
	t.Helper()
	want := strings.TrimSuffix(run.FunctionName, ".run") + ".plan"
	var found *dump
	for i := range list {
		d := &list[i]
		if d.name.Compare(run.name) < 0 && d.FunctionName == want && d.SelfID == run.SelfID && d.ProcessID == run.ProcessID {
			found = d
		}
	}
	require.NotNil(t, found, "no plan before %v", run.name)
	return *found
}

func lengths(indptr []int32) (list []int32) {
	for i := 1; i < len(indptr); i++ {
		list = append(list, indptr[i]-indptr[i-1])
	}
	return list
}

func requireIndptr(t *testing.T, indptr []int32, rows int) {
	t.Helper()
	require.Len(t, indptr, rows+1)
	require.Zero(t, indptr[0])
	require.True(t, slices.IsSorted(indptr), "%v", indptr)
}

func TestDecode(t *testing.T) {
	t.Parallel()
	list := simulated(t, proto.ModeOffline, func(task *proto.Task) { task.Engine.Layers = 3 }, "gqa_paged_decode_h32_kv8_d128_ps1")
	const class = "BatchDecodeWithPagedKVCacheWrapper"
	plans, runs := of(list, class+".plan"), of(list, class+".run")
	require.Len(t, list, len(plans)+len(runs), "only what the definition's patterns include")
	require.Len(t, runs, 3*len(plans), "one plan serves all layers")
	for _, run := range runs {
		plan := planOf(t, list, run)
		rows := len(plan.ints["arg_1"]) - 1
		requireIndptr(t, plan.ints["arg_1"], rows)
		require.Len(t, plan.ints["arg_2"], int(plan.ints["arg_1"][rows]), "decode allocates its indices exactly")
		require.Equal(t, slices.Repeat([]int32{1}, rows), plan.ints["arg_3"])
		require.Equal(t, []int64{int64(rows), 32, 128}, run.shape["arg_1"])
		pool := run.shape["arg_2__0"]
		require.Equal(t, pool, run.shape["arg_2__1"])
		require.Equal(t, []int64{8, 128}, pool[1:])
		require.Less(t, int64(slices.Max(plan.ints["arg_2"])), pool[0])
		require.Positive(t, slices.Min(plan.ints["arg_2"]), "slot 0 is padding")
		for i, want := range []int64{32, 8, 128, 1} {
			v := plan.Arg(fmt.Sprintf("arg_%d", 4+i))
			require.NotNil(t, v)
			require.Equal(t, want, v.Int)
		}
	}
	seen := map[int]bool{}
	for _, plan := range plans {
		seen[len(plan.ints["arg_1"])-1] = true
	}
	require.True(t, seen[4], "the batch size itself is dumped")
}

func TestPagedPrefill(t *testing.T) {
	t.Parallel()
	list := simulated(t, proto.ModeHTTPPaged, func(task *proto.Task) { task.Traffic.NumBatches = 6 }, "gqa_paged_prefill_causal_h32_kv8_d128_ps1")
	const class = "BatchPrefillWithPagedKVCacheWrapper"
	hits := 0
	runs := of(list, class+".run")
	require.NotEmpty(t, runs)
	for _, run := range runs {
		require.Nil(t, run.Arg("kwarg_return_lse"), "causal over the whole sequence: no other half to merge with")
		plan := planOf(t, list, run)
		qo, kv := plan.ints["arg_1"], plan.ints["arg_2"]
		requireIndptr(t, qo, len(kv)-1)
		requireIndptr(t, kv, len(qo)-1)
		require.Len(t, plan.ints["arg_3"], int(kv[len(kv)-1])+256, "indices are over-allocated")
		require.Equal(t, int64(qo[len(qo)-1]), run.shape["arg_1"][0])
		for i, n := range lengths(kv) {
			require.GreaterOrEqual(t, n, lengths(qo)[i])
			if n > lengths(qo)[i] {
				hits++
			}
		}
	}
	require.Positive(t, hits, "some requests share a cached prefix")
}

func TestRaggedPrefill(t *testing.T) {
	t.Parallel()
	const ragged, paged = "BatchPrefillWithRaggedKVCacheWrapper", "BatchPrefillWithPagedKVCacheWrapper"
	list := simulated(t, proto.ModeHTTPRagged, func(task *proto.Task) {
		task.Engine.Flags = []string{"--chunked-prefill-size", "48"}
		task.Dump.Include = []string{ragged + ".*", paged + ".*"}
	}, "gqa_ragged_prefill_causal_h32_kv8_d128")
	plans, runs, halves := of(list, ragged+".plan"), of(list, ragged+".run"), of(list, paged+".run")
	require.Len(t, runs, 2*len(plans))
	require.Len(t, of(list, paged+".plan"), len(plans), "the paged wrapper is planned on every prefill")
	require.NotEmpty(t, halves, "chunks after the first have a prefix")
	require.Less(t, len(halves), len(runs), "and the first have none")
	whole := 0
	for _, run := range runs {
		plan := planOf(t, list, run)
		require.Equal(t, plan.ints["arg_1"], plan.ints["arg_2"])
		if run.Arg("kwarg_return_lse") == nil {
			whole++
		}
	}
	require.Equal(t, len(runs), whole+len(halves), "each run that returns its log-sum-exp has its other half")
	for _, half := range halves {
		require.True(t, half.Arg("kwarg_return_lse").Bool)
		kv := planOf(t, list, half).ints["arg_2"]
		require.Positive(t, kv[len(kv)-1])
	}
	empty := 0
	for _, plan := range of(list, paged+".plan") {
		if kv := plan.ints["arg_2"]; kv[len(kv)-1] == 0 {
			empty++
			require.Len(t, plan.ints["arg_3"], 256)
		}
	}
	require.Equal(t, whole/2, empty)
}

func TestLatent(t *testing.T) {
	t.Parallel()
	const class = "BatchMLAPagedAttentionWrapper"
	for _, mode := range []proto.EngineMode{proto.ModeHTTPPaged, proto.ModeOffline} {
		list := simulated(t, mode, nil, "mla_paged_decode_h16_ckv512_kpe64_ps1", "mla_paged_prefill_causal_h16_ckv512_kpe64_ps1")
		causal := 0
		for _, run := range of(list, class+".run") {
			plan := planOf(t, list, run)
			qo, kv := plan.ints["arg_1"], plan.ints["arg_2"]
			requireIndptr(t, kv, len(qo)-1)
			require.Equal(t, lengths(kv), plan.ints["arg_4"])
			require.Len(t, plan.ints["arg_3"], int(kv[len(kv)-1]))
			require.InDelta(t, 0.0721688, plan.Arg("arg_10").Float, 1e-6)
			if plan.Arg("arg_9").Bool {
				causal++
			} else {
				require.Equal(t, slices.Repeat([]int32{1}, len(qo)-1), lengths(qo), "decode has one query a sequence")
			}
			require.Equal(t, []int64{int64(qo[len(qo)-1]), 16, 512}, run.shape["arg_1"])
			require.Equal(t, []int64{1, 64}, run.shape["arg_4"][1:])
		}
		if mode == proto.ModeHTTPPaged {
			require.Positive(t, causal)
		} else {
			require.Zero(t, causal, "whole prompts go through the ragged wrapper")
		}
	}
}

// TestPages has slots in aligned runs while plans still say pages of one token.
func TestPages(t *testing.T) {
	t.Parallel()
	list := simulated(t, proto.ModeOffline, func(task *proto.Task) { task.Traffic.ISL = 200 }, "gqa_paged_decode_h32_kv8_d128_ps64")
	plans := of(list, "BatchDecodeWithPagedKVCacheWrapper.plan")
	require.NotEmpty(t, plans)
	for _, plan := range plans {
		require.EqualValues(t, 1, plan.Arg("arg_7").Int)
		indptr, slots := plan.ints["arg_1"], plan.ints["arg_2"]
		for i := 1; i < len(indptr); i++ {
			for at, slot := range slots[indptr[i-1]:indptr[i]] {
				require.EqualValues(t, at%64, slot%64)
			}
		}
	}
}

func TestRanks(t *testing.T) {
	t.Parallel()
	list := simulated(t, proto.ModeOffline, func(task *proto.Task) { task.Engine.TP = 4; task.Dump.Count = 30 }, "gqa_paged_decode_h16_kv4_d128_ps1")
	calls, selves := map[int64][]string{}, map[string]bool{}
	for _, d := range list {
		calls[d.ProcessID] = append(calls[d.ProcessID], fmt.Sprint(d.FunctionName, d.CallSequence, d.shape, d.ints))
		selves[d.SelfID] = true
	}
	require.Len(t, calls, 4)
	require.Len(t, selves, 4, "wrapper objects of different processes")
	first := calls[list[0].ProcessID]
	require.Len(t, first, 30)
	for pid, list := range calls {
		require.Equal(t, first, list, "process %d", pid)
	}
}

func TestPlainFunctions(t *testing.T) {
	t.Parallel()
	list := simulated(t, proto.ModeOffline, func(task *proto.Task) {
		task.Engine.EP = 2
	}, "rmsnorm_h4096", "fused_add_rmsnorm_h4096", "bmm_fp8_b16_n512_k128", "top_k_top_p_sampling_from_probs_v128256",
		"moe_fp8_block_scale_ds_routing_topk8_ng8_kg4_e64_h1024_i512")
	passes := len(of(list, "rmsnorm"))
	require.Positive(t, passes)
	require.Len(t, of(list, "fused_add_rmsnorm"), 2*passes, "one a layer")
	require.Len(t, of(list, "bmm_fp8"), 2*passes)
	require.Len(t, of(list, "trtllm_fp8_block_scale_moe"), 2*passes)
	for _, d := range of(list, "top_k_top_p_sampling_from_probs") {
		require.Len(t, d.ints["arg_1"], int(d.shape["arg_0"][0]))
		require.EqualValues(t, 128256, d.shape["arg_0"][1])
		require.Len(t, d.rates, int(d.shape["arg_0"][0]))
		require.True(t, slices.Min(d.rates) > 0 && slices.Max(d.rates) <= 1, "a sampler that may draw nothing draws anything: %v", d.rates)
	}
	for _, d := range list {
		require.Equal(t, "2", d.Versions[proto.VersionSimulate])
		require.Empty(t, d.SelfID)
	}
}

func TestNothingToSimulate(t *testing.T) {
	t.Parallel()
	def, err := fitrace.ParseDefinition([]byte(`{"name": "x", "op_type": "y", "tags": ["fi_api:flashinfer.rope.apply_rope"],
		"axes": {"n": {"type": "var"}}, "inputs": {"a": {"shape": ["n"], "dtype": "float32"}},
		"outputs": {"b": {"shape": ["n"], "dtype": "float32"}}, "reference": "def run(a):\n    return a\n"}`), "x.json")
	require.NoError(t, err)
	defs := []*fitrace.Definition{def}
	job := engine.Job{Task: enginetest.Task(proto.EngineSimulate, proto.ModeOffline, defs), Definitions: defs, DumpDir: t.TempDir(), Log: zerolog.Nop()}
	_, err = simulate.New().Run(t.Context(), job, func(engine.Progress) {})
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, proto.CodeBadCollection, f.Code)
	require.Contains(t, f.Message, "apply_rope")
}

func TestShareGPT(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sharegpt.json")
	require.NoError(t, os.WriteFile(path, []byte(`[
		{"conversations": [{"value": "`+strings.Repeat("word", 10)+`"}, {"value": "`+strings.Repeat("word", 3)+`"}]},
		{"conversations": [{"value": "alone"}]},
		{"conversations": [{"value": "`+strings.Repeat("word", 20)+`"}, {"value": "`+strings.Repeat("word", 2)+`"}]}]`), 0o644))
	list := simulated(t, proto.ModeOffline, func(task *proto.Task) {
		task.Traffic.Dataset, task.Traffic.ShareGPTPath, task.BatchSize, task.Traffic.NumBatches = "sharegpt", path, 2, 1
	}, "gqa_paged_decode_h32_kv8_d128_ps1")
	require.Equal(t, []int32{0, 11, 32}, list[0].ints["arg_1"], "prompts of 10 and 20 tokens, one more each")
}

func TestRate(t *testing.T) {
	t.Parallel()
	began := time.Now()
	list := simulated(t, proto.ModeOffline, func(task *proto.Task) { task.Engine.DumpRate, task.Dump.Count = 100, 11 }, "gqa_paged_decode_h32_kv8_d128_ps1")
	require.Len(t, list, 11)
	require.GreaterOrEqual(t, time.Since(began), 99*time.Millisecond)
}

// TestLikeFlashInfer compares with dumps that FlashInfer itself wrote: module, signature, and how arguments are passed.
func TestLikeFlashInfer(t *testing.T) {
	t.Parallel()
	root := goldentest.Dumps(t)
	form := func(d dump) string {
		var args []string
		for _, v := range d.Input {
			if strings.HasPrefix(v.Key, "arg_") {
				args = append(args, v.Key)
			}
		}
		for key := range d.shape {
			args = append(args, key)
		}
		slices.Sort(args)
		return fmt.Sprintln(d.Module, d.Signature, args)
	}
	theirs := map[string]map[string]bool{}
	for _, name := range []string{"decode_sglang", "prefill_paged", "prefill_ragged", "mla", "norms", "sampling", "odd_dtypes"} {
		for _, d := range readAll(t, filepath.Join(root, name)) {
			if theirs[d.FunctionName] == nil {
				theirs[d.FunctionName] = map[string]bool{}
			}
			theirs[d.FunctionName][form(d)] = true
		}
	}
	for _, mode := range []proto.EngineMode{proto.ModeOffline, proto.ModeHTTPPaged} {
		ours := simulated(t, mode, func(task *proto.Task) { task.Dump.Include = nil })
		compared := map[string]bool{}
		for _, d := range ours {
			if d.FunctionName == "BatchPrefillWithRaggedKVCacheWrapper.plan" && d.shape["kwarg_qo_indptr"] != nil {
				continue // MLA plans by keyword; the corpus has none of those
			}
			require.True(t, theirs[d.FunctionName][form(d)], "%s\nours:   %stheirs: %v", d.FunctionName, form(d), theirs[d.FunctionName])
			compared[d.FunctionName] = true
		}
		require.Greater(t, len(compared), 8)
	}
}
