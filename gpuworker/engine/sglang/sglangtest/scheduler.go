package sglangtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/tracefleet/tracefleet/internal/sglang"
)

// setting is what a command line, or the Engine's keywords, come to.
type setting struct {
	Rank, TP          int
	ModelPath         string
	PageSize          int64
	Pool              int64 // tokens
	Backend, Sampling string
	UsePaged          bool // ragged prefill is off
	MLAPaged          bool // so it is for latent attention
	DecodeGraphs      bool
	PrefillGraphs     bool
	Autotune          bool
	NoTokenizer       bool
}

// setting resolves fields, as the release names them, to what the release then does.
func (o *Options) setting(t *sglang.Table, fields map[string][]string) *setting {
	get := func(name string) string {
		if v := fields[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	has := func(name string) bool { v, ok := fields[name]; return ok && (len(v) == 0 || v[0] != "false") }
	integer := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(get(name)); err == nil {
			return n
		}
		return otherwise
	}
	both := has("disable_cuda_graph") && sglang.Compare(t.Release, "0.5.13") >= 0
	paged := os.Getenv("SGLANG_FLASHINFER_USE_PAGED")
	s := &setting{
		TP: max(integer("tp_size", 1), 1), ModelPath: get("model_path"), PageSize: int64(max(integer("page_size", 1), 1)),
		Pool: int64(integer("max_total_tokens", 4096)), Backend: get("attention_backend"), Sampling: get("sampling_backend"),
		UsePaged:     has("enable_deterministic_inference") || t.ReadsEnv("SGLANG_FLASHINFER_USE_PAGED") && (paged == "1" || paged == "true"),
		MLAPaged:     has("flashinfer_mla_disable_ragged"),
		DecodeGraphs: !has("disable_cuda_graph") && !has("disable_decode_cuda_graph") && get("cuda_graph_backend_decode") != "disabled",
		PrefillGraphs: sglang.Compare(t.Release, "0.5.10.post1") >= 0 && !both && !has("disable_piecewise_cuda_graph") &&
			!has("disable_prefill_cuda_graph") && get("cuda_graph_backend_prefill") != "disabled",
		Autotune: !has("disable_flashinfer_autotune"), NoTokenizer: has("skip_tokenizer_init"),
	}
	if s.Sampling == "" {
		s.Sampling = "flashinfer"
	}
	if s.Backend == "" {
		s.Backend = "fa3"
		o.logf("", "Attention backend not specified. Use fa3 backend by default.")
	}
	return s
}

// logf writes a line as SGLang's logger does.
func (o *Options) logf(ranks, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%s%s] %s\n", time.Now().Format(time.DateTime), ranks, fmt.Sprintf(format, args...))
}

// work is a batch for the schedulers.
type work struct {
	In  []int64 `json:"in"`
	Out []int64 `json:"out"`
}

// scheduler is the process of one rank: it starts, says so, and runs batches until its standard input ends.
func (o *Options) scheduler(arg string) int {
	var s setting
	if err := json.Unmarshal([]byte(arg), &s); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	o.note("pid %d", os.Getpid())
	ranks := ""
	if s.TP > 1 {
		ranks = fmt.Sprintf(" TP%d", s.Rank)
	}
	t := o.table()
	log, err := newLogger(o, t.FlashInfer)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	f := &forward{o: o, s: &s, g: geometryOf(s.ModelPath), log: log, page: s.PageSize}
	if code := o.load(t, f, ranks); code != 0 {
		return code
	}
	answers := json.NewEncoder(os.Stdout)
	if answers.Encode(map[string]bool{"ready": true}) != nil {
		return 1
	}
	requests := bufio.NewScanner(os.Stdin)
	requests.Buffer(nil, 64<<20)
	for requests.Scan() {
		var w work
		if err := json.Unmarshal(requests.Bytes(), &w); err != nil {
			return 1
		}
		o.run(f, w, ranks)
		if f.failed != nil {
			o.logf(ranks, "Scheduler hit an exception: Traceback (most recent call last):")
			fmt.Fprintln(os.Stderr, "OSError:", f.failed)
			return 1
		}
		if answers.Encode(map[string]bool{"ok": true}) != nil {
			return 1
		}
	}
	return 0
}

// load is what happens before the first request.
func (o *Options) load(t *sglang.Table, f *forward, ranks string) int {
	o.logf(ranks, "Load weight begin. avail mem=138.97 GB")
	fmt.Fprint(os.Stderr, "\rLoading safetensors checkpoint shards:   0% Completed | 0/2 [00:00<?, ?it/s]\rLoading safetensors checkpoint shards: 100% Completed | 2/2 [00:01<00:00]\n")
	switch o.Fail {
	case FailOOMStart:
		o.logf(ranks, "Scheduler hit an exception: Traceback (most recent call last):")
		fmt.Fprintln(os.Stderr, "RuntimeError: Not enough memory. Please try to increase --mem-fraction-static. Current value: mem_fraction_static=0.05")
		return 1
	case FailNCCL:
		o.logf(ranks, "Scheduler hit an exception: Traceback (most recent call last):")
		fmt.Fprintln(os.Stderr, "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)")
		return 1
	case FailPackage:
		fmt.Fprintf(os.Stderr, "Exception: flashinfer_python is installed with version 0.5.0, which is less than the minimum required version %s. Please uninstall the old version\n", t.FlashInfer)
		return 1
	case FailHangStart:
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
		return 0
	}
	if sglang.Compare(t.Release, "0.5.12") >= 0 {
		o.logf(ranks, "Load weight end. elapsed=1.25 s, type=LlamaForCausalLM, avail mem=137.00 GB, mem usage=1.97 GB.")
	} else {
		o.logf(ranks, "Load weight end. type=LlamaForCausalLM, dtype=torch.bfloat16, avail mem=137.00 GB, mem usage=1.97 GB.")
	}
	o.logf(ranks, "Memory pool end. avail mem=130.00 GB")
	if f.s.Autotune {
		f.prefill([]int64{16})
	}
	if f.s.DecodeGraphs || f.s.PrefillGraphs {
		if o.Fail == FailCapture {
			fmt.Fprintln(os.Stderr, "Exception: Capture cuda graph failed: CUDA error: operation not permitted when stream is capturing")
			return 1
		}
	}
	if f.s.DecodeGraphs {
		if sglang.Compare(t.Release, "0.5.14") >= 0 {
			o.logf(ranks, "Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, avail mem=130.00 GB")
		} else {
			o.logf(ranks, "Capture cuda graph begin. This can take up to several minutes. avail mem=130.00 GB")
		}
		for _, n := range []int{8, 4, 2, 1} {
			f.decode(slices.Repeat([]int64{1}, n), false)
		}
	}
	if f.s.PrefillGraphs {
		if sglang.Compare(t.Release, "0.5.14") >= 0 {
			o.logf(ranks, "Capture target prefill CUDA graph begin. backend=breakable, num_tokens=[4, 8], avail mem=130.00 GB")
		} else {
			o.logf(ranks, "Capture piecewise CUDA graph begin. avail mem=130.00 GB")
		}
		f.prefill([]int64{8})
	}
	if f.s.Rank == 0 {
		o.logf(ranks, "max_total_num_tokens=%d, chunked_prefill_size=8192, max_prefill_tokens=16384, max_running_requests=64, context_len=8192, available_gpu_mem=130.00 GB", f.s.Pool)
	}
	return 0
}

// run serves a batch: one prefill, and decode steps until the last request has its answer.
func (o *Options) run(f *forward, w work, ranks string) {
	f.prefill(w.In)
	if f.s.Rank == 0 {
		o.logf(ranks, "Prefill batch, #new-seq: %d, #new-token: %d, #cached-token: 0, token usage: 0.01, #running-req: 0, #queue-req: 0, cuda graph: False, input throughput (token/s): 100.00", len(w.In), sum(w.In))
		if o.Fail == FailRetract {
			o.logf(ranks, "KV cache pool is full. Retract requests. #retracted_reqs: 2, #new_tokens_gained: 100")
		}
	}
	for step := int64(1); ; step++ {
		var lens []int64
		for i, n := range w.Out {
			if n > step {
				lens = append(lens, w.In[i]+step)
			}
		}
		if len(lens) == 0 {
			return
		}
		f.decode(lens, f.s.DecodeGraphs)
		if f.s.Rank == 0 && step%4 == 1 {
			graph := map[bool]string{true: "True", false: "False"}[f.s.DecodeGraphs]
			o.logf(ranks, "Decode batch, #running-req: %d, #token: %d, token usage: 0.02, cuda graph: %s, gen throughput (token/s): 1170.25, #queue-req: 0", len(lens), sum(lens), graph)
		}
	}
}

func sum(list []int64) (n int64) {
	for _, v := range list {
		n += v
	}
	return n
}

// group is the scheduler processes of an engine, seen from their parent.
type group struct {
	o     *Options
	ranks []*rank
	done  int // requests
}

type rank struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

// start runs a scheduler for each rank and waits until all are ready.
func (o *Options) start(s *setting) (*group, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &group{o: o}
	for n := range s.TP {
		s.Rank = n
		arg, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		r := &rank{cmd: exec.Command(exe, schedulerMode, string(arg))}
		r.cmd.Stderr = os.Stderr
		if r.in, err = r.cmd.StdinPipe(); err != nil {
			return nil, err
		}
		out, err := r.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		r.out = bufio.NewScanner(out)
		if err := r.cmd.Start(); err != nil {
			return nil, err
		}
		g.ranks = append(g.ranks, r)
	}
	for n, r := range g.ranks {
		if !r.out.Scan() {
			_ = r.cmd.Wait()
			return nil, fmt.Errorf("Rank %d scheduler died during initialization (exit code: %d). If exit code is -9 (SIGKILL), a common cause is the OS OOM killer.", n, r.cmd.ProcessState.ExitCode()) //nolint:staticcheck,revive // SGLang's own words
		}
	}
	return g, nil
}

// run serves a batch on all ranks.
func (g *group) run(w work) error {
	data, err := json.Marshal(w)
	if err != nil {
		return err
	}
	for _, r := range g.ranks {
		if _, err := r.in.Write(append(data, '\n')); err != nil {
			return err
		}
	}
	for n, r := range g.ranks {
		if !r.out.Scan() {
			return fmt.Errorf("rank %d is gone", n)
		}
	}
	g.done += len(w.In)
	g.o.note("batch %d %v", len(w.In), w.Out)
	return nil
}

// stop lets the schedulers end, and waits for them.
func (g *group) stop() {
	for _, r := range g.ranks {
		_ = r.in.Close()
	}
	for _, r := range g.ranks {
		_ = r.cmd.Wait()
	}
}
