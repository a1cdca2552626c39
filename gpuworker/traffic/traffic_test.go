package traffic_test

import (
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

var modes = []proto.EngineMode{proto.ModeOffline, proto.ModeHTTPPaged, proto.ModeHTTPRagged, proto.ModeAny}

// TestSource_Property holds what every task's requests have in common: equal for equal tasks, whoever pulls them, with
// lengths and token ids in their bounds.
func TestSource_Property(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom(modes).Draw(t, "mode")
		task := task(mode, rapid.IntRange(1, 9).Draw(t, "batch"), rapid.IntRange(1, 4).Draw(t, "batches"), func(task *proto.Task) {
			task.Traffic.ISL, task.Traffic.OSL = rapid.IntRange(1, 80).Draw(t, "isl"), rapid.IntRange(1, 30).Draw(t, "osl")
			task.Traffic.RangeRatio = rapid.Float64Range(0, 1).Draw(t, "ratio")
			task.Traffic.Requests = rapid.SampledFrom([]int{0, 0, 1, 5, 17}).Draw(t, "requests")
			task.Traffic.Seed = rapid.Int64().Draw(t, "seed")
			task.Engine.PageSize = rapid.SampledFrom([]int{0, 1, 16, 64}).Draw(t, "page")
		})
		vocab := rapid.SampledFrom([]int{0, 2, 150, 1000, 128256}).Draw(t, "vocab")
		list := all(source(t, task, traffic.Options{Vocab: vocab}))
		want := task.BatchSize * task.Traffic.NumBatches
		if task.Traffic.Requests > 0 {
			want = task.Traffic.Requests
		}
		require.Len(t, list, want)

		least, most := int32(100), int32(float64(vocab)*31/32)+1
		if vocab == 0 {
			most = 31000
		}
		if vocab == 2 || vocab == 150 {
			least, most = 0, int32(vocab)
		}
		low := max(int(float64(task.Traffic.ISL)*task.Traffic.RangeRatio), 1)
		served := 0
		for i, r := range list {
			require.Equal(t, i, r.ID)
			require.GreaterOrEqual(t, len(r.InputIDs), low)
			require.LessOrEqual(t, len(r.InputIDs), task.Traffic.ISL)
			require.GreaterOrEqual(t, r.MaxNewTokens, 1)
			require.LessOrEqual(t, r.MaxNewTokens, task.Traffic.OSL)
			require.LessOrEqual(t, r.After, served, "waits only for requests before it")
			require.Zero(t, r.At)
			require.True(t, r.IgnoreEOS)
			require.GreaterOrEqual(t, slices.Min(r.InputIDs), least)
			require.Less(t, slices.Max(r.InputIDs), most)
			served++
		}

		shared := source(t, task, traffic.Options{Vocab: vocab})
		again := make([]traffic.Request, len(list))
		var pullers sync.WaitGroup
		for range 3 {
			pullers.Go(func() {
				for r, ok := shared.Next(); ok; r, ok = shared.Next() {
					again[r.ID] = r
				}
			})
		}
		pullers.Wait()
		require.Equal(t, list, again)

		task.Traffic.Seed++
		if other := all(source(t, task, traffic.Options{Vocab: vocab})); vocab > 150 && len(list[0].InputIDs) > 4 {
			require.NotEqual(t, list[0].InputIDs, other[0].InputIDs, "another seed, another prompt")
		}
	})
}

// TestRandom_Lengths is the meaning of random_range_ratio in SGLang's bench_serving: uniform whole numbers, both ends included.
func TestRandom_Lengths(t *testing.T) {
	t.Parallel()
	in, out := map[int]int{}, map[int]int{}
	for _, r := range all(source(t, task(proto.ModeAny, 500, 10, func(t *proto.Task) {
		t.Traffic.ISL, t.Traffic.OSL, t.Traffic.RangeRatio = 10, 7, 0.55
	}), traffic.Options{})) {
		in[len(r.InputIDs)]++
		out[r.MaxNewTokens]++
	}
	even := func(counts map[int]int, low, high int) {
		t.Helper()
		require.Len(t, counts, high-low+1)
		for n := low; n <= high; n++ {
			require.InDelta(t, 5000.0/float64(high-low+1), counts[n], 200, "length %d", n)
		}
	}
	even(in, 5, 10)
	even(out, 3, 7)
}

func TestRandom_NoCommonRuns(t *testing.T) {
	t.Parallel()
	list := all(source(t, task(proto.ModeAny, 50, 1, nil), traffic.Options{}))
	for i, a := range list {
		for _, b := range list[:i] {
			require.LessOrEqual(t, shared(a.InputIDs, b.InputIDs), 1)
		}
	}
}

func TestOffline_OneAnswerLengthABatch(t *testing.T) {
	t.Parallel()
	s := source(t, task(proto.ModeOffline, 16, 8, nil), traffic.Options{})
	answers, prompts := map[int]bool{}, map[int]bool{}
	for range 8 {
		batch := s.NextBatch(16)
		require.Len(t, batch, 16)
		for _, r := range batch {
			require.Equal(t, batch[0].MaxNewTokens, r.MaxNewTokens)
			prompts[len(r.InputIDs)] = true
		}
		answers[batch[0].MaxNewTokens] = true
	}
	require.Empty(t, s.NextBatch(16))
	require.Greater(t, len(answers), 3, "batches differ")
	require.Greater(t, len(prompts), 20, "prompts differ within them")
}

func TestRagged(t *testing.T) {
	t.Parallel()
	s := source(t, task(proto.ModeHTTPRagged, 16, 4, nil), traffic.Options{})
	require.Equal(t, 64+1, s.Longest())
	list := all(s)
	for i, r := range list {
		require.Equal(t, 1, r.MaxNewTokens)
		require.Zero(t, r.After)
		for _, b := range list[:i] {
			require.LessOrEqual(t, shared(r.InputIDs, b.InputIDs), 1)
		}
	}
}

// TestRagged_PlannedForADecodeStep_EveryAnswerHasTwoTokens: one decode step for each request, whatever the share of the longest.
func TestRagged_PlannedForADecodeStep_EveryAnswerHasTwoTokens(t *testing.T) {
	t.Parallel()
	s := source(t, task(proto.ModeHTTPRagged, 16, 4, func(t *proto.Task) { t.Traffic.OSL = 2 }), traffic.Options{})
	require.Equal(t, 64+2, s.Longest())
	for _, r := range all(s) {
		require.Equal(t, 2, r.MaxNewTokens)
	}
}

// TestPaged_SharedPrefixes: a few requests come first, one a prefix; most of those that wait for them begin with what one of them
// began with.
func TestPaged_SharedPrefixes(t *testing.T) {
	t.Parallel()
	list := all(source(t, task(proto.ModeHTTPPaged, 16, 8, func(t *proto.Task) { t.Traffic.ISL = 512 }), traffic.Options{}))
	seeds := list[:4]
	lengths := map[int]bool{}
	sharing, own := 0, 0
	for _, r := range list[:4] {
		require.Zero(t, r.After)
		require.Equal(t, 1, r.MaxNewTokens, "the others wait for it")
	}
	for _, r := range list[4:] {
		require.Equal(t, 4, r.After)
		most := 0
		for _, s := range seeds {
			most = max(most, shared(r.InputIDs, s.InputIDs))
		}
		require.Less(t, most, len(r.InputIDs), "something of it is its own")
		if most < 2 {
			own++
			continue
		}
		require.GreaterOrEqual(t, most, 512/8)
		sharing++
		lengths[most] = true
	}
	require.GreaterOrEqual(t, len(lengths), 4, "prefixes of several lengths")
	require.Greater(t, sharing, 2*own)
	require.Positive(t, own)

	off := source(t, task(proto.ModeHTTPPaged, 16, 8, func(t *proto.Task) { t.Traffic.DisableRadix = true }), traffic.Options{})
	require.Zero(t, off.Shared())
	for _, r := range all(off) {
		require.Zero(t, r.After, "without a prefix cache nobody waits for it")
	}
}

// TestPaged_WholePrefixesFirst: however short prompts may be, those that bring a prefix into the cache have all of it.
func TestPaged_WholePrefixesFirst(t *testing.T) {
	t.Parallel()
	for seed := range int64(50) {
		s := source(t, task(proto.ModeHTTPPaged, 16, 8, func(t *proto.Task) {
			t.Traffic.ISL, t.Traffic.RangeRatio, t.Traffic.Seed = 512, 0, seed
		}), traffic.Options{})
		tokens := 0
		for _, r := range s.NextBatch(4) {
			require.LessOrEqual(t, len(r.InputIDs), 512)
			tokens += len(r.InputIDs)
		}
		require.GreaterOrEqual(t, tokens, s.Shared()+4)
		require.InDelta(t, 512*1.9, s.Shared(), 512)
	}
}

// TestPaged_PrefixesFillAPage: below a page nothing is cached.
func TestPaged_PrefixesFillAPage(t *testing.T) {
	t.Parallel()
	list := all(source(t, task(proto.ModeHTTPPaged, 8, 8, func(t *proto.Task) {
		t.Engine.PageSize, t.Traffic.ISL, t.Traffic.RangeRatio = 64, 128, 0.9
	}), traffic.Options{}))
	hits := 0
	for _, r := range list[4:] {
		for _, s := range list[:4] {
			if shared(r.InputIDs, s.InputIDs) >= 64 {
				hits++
			}
		}
	}
	require.Greater(t, hits, 30)
}

func TestSampling(t *testing.T) {
	t.Parallel()
	count := func(include ...string) (minP []int, kinds map[[2]float64]bool) {
		kinds = map[[2]float64]bool{}
		for i, r := range all(source(t, task(proto.ModeOffline, 4, 4, func(t *proto.Task) { t.Dump.Include = include }), traffic.Options{})) {
			require.True(t, r.Temperature >= 0.8 && r.Temperature <= 1)
			require.Greater(t, r.TopK, 1)
			require.True(t, r.TopP > 0 && r.TopP < 1)
			kinds[[2]float64{float64(r.TopK), r.TopP}] = true
			p := r.SamplingParams()
			require.Equal(t, r.MaxNewTokens, p["max_new_tokens"])
			require.Equal(t, r.TopK, p["top_k"])
			require.Equal(t, r.TopP, p["top_p"])
			require.Equal(t, r.Temperature, p["temperature"])
			require.Equal(t, true, p["ignore_eos"])
			if _, has := p["min_p"]; has {
				require.Positive(t, r.MinP)
				minP = append(minP, i)
			}
		}
		return minP, kinds
	}
	none, kinds := count("BatchDecodeWithPagedKVCacheWrapper.run", "top_k_top_p_sampling_from_probs")
	require.Empty(t, none, "min_p would take the place of top_k_top_p")
	require.Greater(t, len(kinds), 5, "requests differ")
	only, _ := count("min_p_sampling_from_probs")
	require.Len(t, only, 16)
	both, _ := count("top_k_renorm_probs", "top_k_top_p_sampling_from_probs")
	require.Equal(t, []int{4, 5, 6, 7, 12, 13, 14, 15}, both, "every second batch")
}

func TestChat(t *testing.T) {
	t.Parallel()
	list := all(source(t, task(proto.ModeHTTPPaged, 8, 4, func(t *proto.Task) { t.Traffic.Chat, t.Traffic.DisableIgnoreEOS = true, true }), traffic.Options{}))
	systems := map[string]int{}
	for _, r := range list {
		require.Empty(t, r.InputIDs)
		last := r.Messages[len(r.Messages)-1]
		require.Equal(t, "user", last.Role)
		require.NotEmpty(t, last.Content)
		if len(r.Messages) == 2 {
			require.Equal(t, "system", r.Messages[0].Role)
			systems[r.Messages[0].Content]++
		}
		body := r.ChatBody("m")
		require.Equal(t, r.Messages, body["messages"])
		require.Equal(t, r.MaxNewTokens, body["max_tokens"])
		require.Equal(t, false, body["ignore_eos"])
	}
	require.Len(t, systems, 4, "shared prefixes are system messages")
	for _, n := range systems {
		require.Greater(t, n, 1)
	}
}

func TestNew_Refuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*proto.Task)
		o      traffic.Options
		words  []string
	}{
		{"ratio", func(t *proto.Task) { t.Traffic.RangeRatio = 1.5 }, traffic.Options{}, []string{"random_range_ratio", "1.5"}},
		{"no ratio", func(t *proto.Task) { t.Traffic.RangeRatio = math.NaN() }, traffic.Options{}, []string{"random_range_ratio", "NaN"}},
		{"isl", func(t *proto.Task) { t.Traffic.ISL = 1 << 30 }, traffic.Options{}, []string{"isl", "1073741824"}},
		{"osl", func(t *proto.Task) { t.Traffic.OSL = 1 << 30 }, traffic.Options{}, []string{"osl", "1073741824"}},
		{"speed", func(t *proto.Task) { t.Traffic.TraceSpeed = -1 }, traffic.Options{}, []string{"trace_speed", "-1"}},
		{"dataset", func(t *proto.Task) { t.Traffic.Dataset = "mmlu" }, traffic.Options{}, []string{"mmlu", "random, sharegpt or trace"}},
		{"vocabulary", nil, traffic.Options{Vocab: -3}, []string{"-3"}},
		{"context", nil, traffic.Options{MaxTokens: 1}, []string{"1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fails(t, task(proto.ModeOffline, 2, 1, tc.change), tc.o, tc.words...)
		})
	}
}

func TestMaxTokens_LowersLengths(t *testing.T) {
	t.Parallel()
	s := source(t, task(proto.ModeOffline, 8, 2, func(t *proto.Task) { t.Traffic.RangeRatio = 1 }), traffic.Options{MaxTokens: 50})
	require.Equal(t, 50, s.Longest())
	require.Len(t, s.Notes(), 1)
	for _, r := range all(s) {
		require.Len(t, r.InputIDs, 34)
		require.Equal(t, 16, r.MaxNewTokens)
	}
}
