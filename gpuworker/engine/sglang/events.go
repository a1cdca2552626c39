package sglang

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// batchEvery and loadEvery are how often at most batches and the loading of weights are told: an event is a synced write.
	batchEvery = 5 * time.Second
	loadEvery  = 10 * time.Second
	// lastLines is how many lines of the log a failure may quote from.
	lastLines = 30
)

// watch reads the lines that SGLang logs: it tells the few that a person wants to see, and keeps what a diagnosis needs.
type watch struct {
	now func() time.Time

	mu     sync.Mutex
	tell   func(string) // nil: nobody is to be told any more
	ready  chan struct{}
	facts  facts
	seen   map[*symptom]string // the first line of each
	last   []string
	error  string // the last line of a Python exception
	batch  time.Time
	loaded time.Time
}

// facts are what the log has said so far.
type facts struct {
	Ready       bool
	PoolTokens  int      // max_total_num_tokens: tokens that the KV pool holds
	Captured    []string // phases whose CUDA graphs were captured
	Replayed    bool     // a batch ran in a CUDA graph
	Backend     string   // that SGLang chose by itself, since none was given
	Retractions int      // requests that lost their place in the KV pool
	Prefills    int      // lines about prefill batches
	Decodes     int
}

func newWatch(tell func(string)) *watch {
	return &watch{now: time.Now, tell: tell, ready: make(chan struct{}), seen: map[*symptom]string{}}
}

// mute ends the telling: after it, tell is not called.
func (w *watch) mute() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tell = nil
}

func (w *watch) known() facts {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.facts
}

// quote gives the last n lines.
func (w *watch) quote(n int) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.last[max(len(w.last)-n, 0):]...)
}

// logged takes SGLang's prefix off a line: "[2026-11-23 10:00:00 DP0 TP1] message". The ranks are "" for a process that has none.
var logged = regexp.MustCompile(`^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? ?([^\]]*)\] (.*)$`)

// line takes one line of output.
func (w *watch) line(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last = append(w.last, text); len(w.last) > lastLines {
		w.last = w.last[1:]
	}
	for _, s := range symptoms {
		if _, ok := w.seen[s]; !ok && s.line.MatchString(text) {
			w.seen[s] = text
		}
	}
	if exception.MatchString(text) {
		w.error = strings.TrimSpace(text)
	}
	message, first := text, true
	if m := logged.FindStringSubmatch(text); m != nil {
		message, first = m[2], !otherRank.MatchString(m[1])
	}
	for _, e := range events {
		m := e.line.FindStringSubmatch(message)
		if m == nil {
			continue
		}
		if !first && !e.everyRank {
			return
		}
		if said := e.take(w, m); said != "" && w.tell != nil {
			w.tell(said)
		}
		return
	}
}

var (
	// exception matches the line that ends a traceback: "torch.OutOfMemoryError: CUDA out of memory. …".
	exception = regexp.MustCompile(`^\s*(?:[\w.]+\.)?(?:\w+(?:Error|Exception|Interrupt|Exit)|Exception)(?:: .*|)$`)
	// otherRank matches the ranks of a process that says what rank 0 says too.
	otherRank = regexp.MustCompile(`\b(?:TP|PP|EP|DP|ATTN_TP|ATTN_DP)[1-9]`)
)

// event is a kind of line that SGLang logs. All strings were read in 0.5.8, 0.5.12, 0.5.16 and 0.5.23.
type event struct {
	line      *regexp.Regexp
	everyRank bool
	take      func(w *watch, m []string) string // notes it, and gives what to tell; called with the watch locked
}

var events = []event{
	{line: regexp.MustCompile(`^The server is fired up and ready to roll!`), take: func(w *watch, _ []string) string {
		if !w.facts.Ready {
			w.facts.Ready = true
			close(w.ready)
		}
		return ""
	}},
	{line: regexp.MustCompile(`^Load weight begin\. avail mem=([\d.]+) GB`), take: func(_ *watch, m []string) string {
		return "loading weights, " + m[1] + " GB of GPU memory free"
	}},
	{line: regexp.MustCompile(`^Load weight end\.(?: elapsed=([\d.]+) s,)?.* avail mem=([\d.]+) GB, mem usage=([\d.]+) GB`), take: func(_ *watch, m []string) string {
		text := "weights loaded, " + m[3] + " GB"
		if m[1] != "" {
			text += " in " + m[1] + " s"
		}
		return text + ", " + m[2] + " GB of GPU memory free"
	}},
	{line: regexp.MustCompile(`^((?:Multi-thread l|L)oading [\w ]*shards):\s+(\d+)%`), take: func(w *watch, m []string) string {
		if m[2] != "100" && w.now().Sub(w.loaded) < loadEvery {
			return ""
		}
		w.loaded = w.now()
		return strings.ToLower(m[1]) + ": " + m[2] + " %"
	}},
	{line: regexp.MustCompile(`^max_total_num_tokens=(\d+), .*max_running_requests=(\d+).* available_[cg]pu_mem=([\d.]+) GB`), take: func(w *watch, m []string) string {
		w.facts.PoolTokens, _ = strconv.Atoi(m[1])
		return fmt.Sprintf("the KV pool holds %s tokens, at most %s requests run, %s GB of GPU memory free", m[1], m[2], m[3])
	}},
	{line: regexp.MustCompile(`^Capture (.*?)(?:cuda graph|CUDA graph|single-CG.*) begin`), take: func(w *watch, m []string) string {
		phase := strings.TrimSpace(m[1])
		if phase == "" {
			phase = "decode" // the older releases' only one
		}
		w.facts.Captured = append(w.facts.Captured, phase)
		return "CUDA graphs are captured (" + phase + "): calls inside them are not dumped as they are made"
	}},
	{line: regexp.MustCompile(`Attention backend not specified\. Use (\w+) backend by default`), take: func(w *watch, m []string) string {
		w.facts.Backend = m[1]
		if m[1] == "flashinfer" {
			return ""
		}
		return "no attention backend was given, and SGLang takes " + m[1] + ": FlashInfer's attention is not called"
	}},
	{line: regexp.MustCompile(`^KV cache pool is full\. Retract requests\.(?: #retracted_reqs: (\d+))?`), take: func(w *watch, m []string) string {
		n, _ := strconv.Atoi(m[1])
		first := w.facts.Retractions == 0
		w.facts.Retractions += max(n, 1)
		if !first {
			return "" // told once, and counted at the end
		}
		return "the KV pool is full, requests are retracted: batches are smaller than asked for; raise --pool-tokens"
	}},
	{line: regexp.MustCompile(`^Prefill batch(?: \[\d+\])?, #new-seq: (\d+), #new-token: (\d+), #cached-token: (\d+)`), take: func(w *watch, m []string) string {
		w.facts.Prefills++
		if !w.turn() {
			return ""
		}
		return fmt.Sprintf("prefill of %s requests, %s new tokens, %s from the prefix cache", m[1], m[2], m[3])
	}},
	{line: regexp.MustCompile(`^Decode batch(?: \[\d+\])?, #running-req: (\d+),.*?cuda graph: (\w+),.*?gen throughput \(token/s\): ([\d.]+)`), take: func(w *watch, m []string) string {
		w.facts.Decodes++
		w.facts.Replayed = w.facts.Replayed || m[2] == "True"
		if !w.turn() {
			return ""
		}
		return fmt.Sprintf("decoding %s requests, %s tokens a second", m[1], m[3])
	}},
}

// turn reports whether a batch is to be told: now and then one is.
func (w *watch) turn() bool {
	if w.now().Sub(w.batch) < batchEvery {
		return false
	}
	w.batch = w.now()
	return true
}
