package traffic

import (
	"math/rand/v2"
	"strings"
)

// What requests ask for: values that model cards recommend and users set.
var (
	temperatures = []float64{0.8, 0.9, 1}
	topKs        = []int{20, 40, 50, 64, 100}
	topPs        = []float64{0.8, 0.9, 0.95}
	minPs        = []float64{0.02, 0.05, 0.1}
)

// sampling says whether requests ask for min_p: a single one that does moves its whole forward pass from top_k_top_p sampling to
// renormalisation and min_p sampling.
type sampling struct {
	minP  bool // some do
	mixed bool // only those of every second batch: both kinds of sampling are dumped
}

// samplingOf reads from a task's include patterns which samplers it is after.
func samplingOf(include []string) (s sampling) {
	for _, p := range include {
		s.minP = s.minP || strings.Contains(p, "min_p_sampling") || strings.Contains(p, "top_k_renorm") || strings.Contains(p, "top_p_renorm")
		s.mixed = s.mixed || strings.Contains(p, "top_k_top_p_sampling")
	}
	return s
}

func (s sampling) draw(r *Request, rng *rand.Rand, batch int) {
	r.Temperature = temperatures[rng.IntN(len(temperatures))]
	r.TopK = topKs[rng.IntN(len(topKs))]
	r.TopP = topPs[rng.IntN(len(topPs))]
	minP := minPs[rng.IntN(len(minPs))]
	if s.minP && (!s.mixed || batch%2 == 1) {
		r.MinP = minP
	}
}

// SamplingParams gives what /generate and Engine.generate take as sampling_params.
func (r Request) SamplingParams() map[string]any {
	m := r.common()
	m["max_new_tokens"] = r.MaxNewTokens
	return m
}

// ChatBody gives the body of a chat completion, not streamed.
func (r Request) ChatBody(model string) map[string]any {
	m := r.common()
	m["model"], m["messages"], m["max_tokens"], m["stream"] = model, r.Messages, r.MaxNewTokens, false
	return m
}

func (r Request) common() map[string]any {
	m := map[string]any{"temperature": r.Temperature, "top_k": r.TopK, "top_p": r.TopP, "ignore_eos": r.IgnoreEOS}
	if r.MinP > 0 {
		m["min_p"] = r.MinP
	}
	return m
}
