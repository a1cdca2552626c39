package sglang

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestWatch_Lines: lines as releases print them, what is told of them, and what is kept.
func TestWatch_Lines(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		release, line, told string
		facts               facts
	}{
		{"all", "[2026-11-23 10:00:00] The server is fired up and ready to roll!", "", facts{Ready: true}},
		{"all", "[2026-11-23 10:00:00 TP0] Load weight begin. avail mem=138.97 GB", "loading weights, 138.97 GB of GPU memory free", facts{}},
		{"0.5.8", "[2026-11-23 10:00:00] Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=137.00 GB, mem usage=1.97 GB.",
			"weights loaded, 1.97 GB, 137.00 GB of GPU memory free", facts{}},
		{"0.5.12", "[2026-11-23 10:00:00 TP0] Load weight end. elapsed=2.51 s, type=LlamaForCausalLM, quant=fp8, avail mem=137.00 GB, mem usage=1.97 GB.",
			"weights loaded, 1.97 GB in 2.51 s, 137.00 GB of GPU memory free", facts{}},
		{"with milliseconds", "[2026-11-23 10:00:00.123 TP0 EP0] Load weight begin. avail mem=1.00 GB", "loading weights, 1.00 GB of GPU memory free", facts{}},
		{"another rank", "[2026-11-23 10:00:00 TP1] Load weight begin. avail mem=138.97 GB", "", facts{}},
		{"another rank", "[2026-11-23 10:00:00 DP1 TP0] Load weight begin. avail mem=138.97 GB", "", facts{}},
		{"all", "Loading safetensors checkpoint shards:  25% Completed | 1/4 [00:01<00:03,  1.00s/it]", "loading safetensors checkpoint shards: 25 %", facts{}},
		{"0.5.23", "Multi-thread loading shards: 100% Completed | 4/4", "multi-thread loading shards: 100 %", facts{}},
		{"all", "[2026-11-23 10:00:00] max_total_num_tokens=4096, chunked_prefill_size=8192, max_prefill_tokens=16384, max_running_requests=64, context_len=8192, available_gpu_mem=129.87 GB",
			"the KV pool holds 4096 tokens, at most 64 requests run, 129.87 GB of GPU memory free", facts{PoolTokens: 4096}},
		{"0.5.8", "[2026-11-23 10:00:00] Capture cuda graph begin. This can take up to several minutes. avail mem=130.00 GB",
			"CUDA graphs are captured (decode): calls inside them are not dumped as they are made", facts{Captured: []string{"decode"}}},
		{"0.5.12", "[2026-11-23 10:00:00] Capture piecewise CUDA graph begin. avail mem=130.00 GB",
			"CUDA graphs are captured (piecewise): calls inside them are not dumped as they are made", facts{Captured: []string{"piecewise"}}},
		{"0.5.16", "[2026-11-23 10:00:00] Capture target decode cuda graph begin. backend=full, num_tokens_per_req=1, avail mem=130.00 GB",
			"CUDA graphs are captured (target decode): calls inside them are not dumped as they are made", facts{Captured: []string{"target decode"}}},
		{"all", "[2026-11-23 10:00:00] Attention backend not specified. Use fa3 backend by default.",
			"no attention backend was given, and SGLang takes fa3: FlashInfer's attention is not called", facts{Backend: "fa3"}},
		{"all", "[2026-11-23 10:00:00] KV cache pool is full. Retract requests. #retracted_reqs: 3, #new_tokens_gained: 1207, #new_token_ratio: 0.2 -> 0.9",
			"the KV pool is full, requests are retracted: batches are smaller than asked for; raise --pool-tokens", facts{Retractions: 3}},
		{"0.5.8", "[2026-11-23 10:00:00] Prefill batch, #new-seq: 4, #new-token: 812, #cached-token: 96, token usage: 0.01, #running-req: 0, #queue-req: 0, ",
			"prefill of 4 requests, 812 new tokens, 96 from the prefix cache", facts{Prefills: 1}},
		{"0.5.23", "[2026-11-23 10:00:00] Prefill batch [12], #new-seq: 4, #new-token: 812, #cached-token: 96, full token usage: 0.01, #running-req: 0, #queue-req: 0, #pending-token: 0, cuda graph: False, input throughput (token/s): 12.25",
			"prefill of 4 requests, 812 new tokens, 96 from the prefix cache", facts{Prefills: 1}},
		{"0.5.8", "[2026-11-23 10:00:00] Decode batch, #running-req: 32, #token: 9000, token usage: 0.20, cuda graph: False, gen throughput (token/s): 1170.25, #queue-req: 0, ",
			"decoding 32 requests, 1170.25 tokens a second", facts{Decodes: 1}},
		{"0.5.23", "[2026-11-23 10:00:00 TP0] Decode batch [120], #running-req: 32, #full token: 9000, full token usage: 0.20, mamba num: 4, mamba usage: 0.10, cuda graph: True, gen throughput (token/s): 1170.25, #queue-req: 0",
			"decoding 32 requests, 1170.25 tokens a second", facts{Decodes: 1, Replayed: true}},
		{"all", "INFO:     Uvicorn running on http://127.0.0.1:30000", "", facts{}},
	} {
		var told []string
		w := newWatch(func(s string) { told = append(told, s) })
		w.line(tc.line)
		if tc.told == "" {
			require.Empty(t, told, "%s: %s", tc.release, tc.line)
		} else {
			require.Equal(t, []string{tc.told}, told, "%s: %s", tc.release, tc.line)
		}
		require.Equal(t, tc.facts, w.known(), "%s: %s", tc.release, tc.line)
	}
}

// TestWatch_Rate: batches are told now and then only, retractions once, and nothing after mute.
func TestWatch_Rate(t *testing.T) {
	t.Parallel()
	clock := time.Unix(1e9, 0)
	var told []string
	w := newWatch(func(s string) { told = append(told, s) })
	w.now = func() time.Time { return clock }
	batch := "[2026-11-23 10:00:00] Decode batch, #running-req: 32, #token: 9000, token usage: 0.20, cuda graph: False, gen throughput (token/s): 1170.25, #queue-req: 0"
	w.line(batch)
	w.line(batch)
	require.Len(t, told, 1)
	clock = clock.Add(batchEvery)
	w.line(batch)
	require.Len(t, told, 2)
	w.line("[2026-11-23 10:00:00] KV cache pool is full. Retract requests. #retracted_reqs: 3, #new")
	w.line("[2026-11-23 10:00:00] KV cache pool is full. Retract requests. #retracted_reqs: 2, #new")
	require.Len(t, told, 3)
	require.Equal(t, 5, w.known().Retractions)
	w.mute()
	clock = clock.Add(time.Hour)
	w.line(batch)
	require.Len(t, told, 3)
	require.Equal(t, 4, w.known().Decodes, "facts are kept")
}

func TestWatch_ReadyOnce(t *testing.T) {
	t.Parallel()
	w := newWatch(nil)
	for range 2 { // a second server process may say it too
		w.line("[2026-11-23 10:00:00] The server is fired up and ready to roll!")
	}
	<-w.ready
}
