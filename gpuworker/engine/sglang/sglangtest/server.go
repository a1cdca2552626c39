package sglangtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tracefleet/tracefleet/internal/sglang"
)

// contextLen is the model's, in tokens.
const contextLen = 8192

// server is `-m sglang.launch_server`.
type server struct {
	o       *Options
	t       *sglang.Table
	s       *setting
	group   *group
	mu      sync.Mutex // one batch at a time
	up      atomic.Bool
	held    sync.Mutex
	waiting int
	most    int
	enough  chan struct{}
	hiccups int
}

func (o *Options) serve(args []string) int {
	o.note("pid %d", os.Getpid())
	o.note("args %s", strings.Join(args, " "))
	for _, name := range []string{"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HF_TOKEN", "FLASHINFER_WORKSPACE_BASE", "FLASHINFER_LOGDEST", "SGLANG_FLASHINFER_USE_PAGED", "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"} {
		if v, ok := os.LookupEnv(name); ok {
			o.note("env %s=%s", name, v)
		}
	}
	t := o.table()
	fields := o.parse(t, args)
	asked := make(chan os.Signal, 1)
	if o.Fail == FailDeaf {
		signal.Ignore(syscall.SIGTERM)
	} else {
		signal.Notify(asked, syscall.SIGTERM)
	}
	if o.Fail == FailChildren {
		if err := sleeper(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	s := &server{o: o, t: t, s: o.setting(t, fields), enough: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		var err error
		s.group, err = o.start(s.s)
		started <- err
	}()
	select {
	case err := <-started:
		if err != nil {
			fmt.Fprintln(os.Stderr, "RuntimeError:", err)
			return 1
		}
	case <-asked: // no handler is installed yet there
		return 143
	}
	return s.listen(fields, asked)
}

func (s *server) listen(fields map[string][]string, asked <-chan os.Signal) int {
	host, port := "127.0.0.1", "30000"
	if v := fields["host"]; len(v) > 0 {
		host = v[0]
	}
	if v := fields["port"]; len(v) > 0 {
		port = v[0]
	}
	ln, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		fmt.Fprintf(os.Stderr, "ERROR:    [Errno 98] error while attempting to bind on address ('%s', %s): address already in use\n", host, port)
		return 1
	}
	web := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = web.Serve(ln) }()
	if _, skip := fields["skip_server_warmup"]; !skip {
		if err := s.run(work{In: []int64{4}, Out: []int64{8}}); err != nil {
			return s.crash(err)
		}
	}
	s.up.Store(true)
	if s.o.Fail != FailSilentReady {
		s.o.logf("", "The server is fired up and ready to roll!")
	}
	<-asked
	s.o.note("asked to stop")
	s.o.logf("", "SIGTERM received. signum=15 frame=None. Draining requests and shutting down...")
	s.mu.Lock() // the batch that runs is finished
	s.group.stop()
	s.o.note("most in flight %d", s.most)
	return 0
}

// sleeper starts a process in a session of its own that only SIGKILL ends.
func sleeper() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, sleeperMode)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = bufio.NewReader(out).ReadString('\n')
	return err
}

// crash ends the server as SGLang does when a scheduler is gone: it kills itself.
func (s *server) crash(err error) int {
	s.o.logf("", "SIGQUIT received. signum=3, frame=None. It usually means one child failed.")
	fmt.Fprintln(os.Stderr, err)
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// run serves a batch, if nothing is to go wrong with it.
func (s *server) run(w work) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.o.FailAfter > 0 && s.group.done >= s.o.FailAfter {
		switch s.o.Fail {
		case FailCrash:
			s.o.logf("", "Scheduler hit an exception: Traceback (most recent call last):")
			fmt.Fprintln(os.Stderr, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.80 GiB")
			s.crash(errors.New("a scheduler is gone"))
		case FailWatchdog:
			s.o.logf("", "Scheduler watchdog timeout (self.watchdog_timeout=300, self.soft=False)")
			s.crash(errors.New("a scheduler is gone"))
		case FailStall:
			s.o.note("stalled")
			for {
				time.Sleep(time.Hour)
			}
		case FailKilled:
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	return s.group.run(w)
}

// ServeHTTP implements http.Handler with the release's routes.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.t.HasRoute(r.URL.Path) {
		http.Error(w, `{"detail":"Not Found"}`, http.StatusNotFound)
		return
	}
	up := s.up.Load()
	switch r.URL.Path {
	case "/ready":
		if !up {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	case "/health", "/health_generate":
		s.o.note("health")
		off := os.Getenv("SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION")
		switch {
		case !up:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == "/health_generate" || off != "0" && !strings.EqualFold(off, "false"):
			if s.run(work{In: []int64{1}, Out: []int64{1}}) != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}
	case "/model_info", "/get_model_info":
		answer(w, map[string]any{"model_path": s.s.ModelPath, "is_generation": true})
	case "/server_info", "/get_server_info":
		answer(w, map[string]any{"version": s.o.Release, "tp_size": s.s.TP})
	case "/flush_cache":
	case "/generate":
		s.generate(w, r)
	case "/v1/chat/completions":
		s.chat(w, r)
	default:
		w.WriteHeader(http.StatusNotImplemented)
	}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// hold counts a request in, and holds it until so many are in flight as the test wants.
func (s *server) hold() (release func()) {
	s.held.Lock()
	s.waiting++
	s.most = max(s.most, s.waiting)
	if s.waiting == s.o.HoldFor {
		select {
		case <-s.enough:
		default:
			close(s.enough)
		}
	}
	s.held.Unlock()
	if s.o.HoldFor > 0 {
		<-s.enough
	}
	return func() { s.held.Lock(); s.waiting--; s.held.Unlock() }
}

// hiccup closes the connection of the first requests, with nothing said.
func (s *server) hiccup(w http.ResponseWriter) bool {
	s.held.Lock()
	defer s.held.Unlock()
	if s.o.Fail != FailHiccup || s.hiccups >= s.o.FailAfter {
		return false
	}
	s.hiccups++
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
	return true
}

func (s *server) generate(w http.ResponseWriter, r *http.Request) {
	var body struct {
		InputIDs json.RawMessage `json:"input_ids"`
		Text     any             `json:"text"`
		Sampling json.RawMessage `json:"sampling_params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if s.hiccup(w) {
		return
	}
	defer s.hold()()
	list, err := batchOf(body.InputIDs, body.Sampling)
	if err == nil && s.o.Fail == FailRefuse {
		err = tooLong(list.In[0])
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"error": map[string]any{"message": err.Error()}})
		return
	}
	s.o.note("generate %d", len(list.In))
	if err := s.run(list); err != nil {
		s.crash(err)
	}
	answer(w, outputs(list, s.o.Fail == FailAbort)[0])
}

func (s *server) chat(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Messages []struct {
			Role, Content string
		} `json:"messages"`
		MaxTokens int64 `json:"max_tokens"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Messages) == 0 {
		http.Error(w, "messages are missing", http.StatusBadRequest)
		return
	}
	if s.s.NoTokenizer {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]any{"object": "error", "message": "'NoneType' object has no attribute 'apply_chat_template'"})
		return
	}
	defer s.hold()()
	n := int64(0)
	for _, m := range body.Messages {
		n += int64(len(strings.Fields(m.Content))) + 4
	}
	s.o.note("chat %s", body.Messages[0].Role)
	if err := s.run(work{In: []int64{n}, Out: []int64{body.MaxTokens}}); err != nil {
		s.crash(err)
	}
	answer(w, map[string]any{"choices": []any{map[string]any{"finish_reason": "length"}}, "usage": map[string]any{"completion_tokens": body.MaxTokens}})
}

func tooLong(n int64) error {
	return fmt.Errorf("The input (%d tokens) is longer than the model's context length (%d tokens).", n, contextLen) //nolint:staticcheck,revive // SGLang's own words
}

// batchOf takes input_ids, of one request or of a list, and their sampling parameters.
func batchOf(ids, sampling json.RawMessage) (w work, err error) {
	var many [][]int32
	if json.Unmarshal(ids, &many) != nil {
		var single []int32
		if err := json.Unmarshal(ids, &single); err != nil || len(single) == 0 {
			return w, errors.New("Either text, input_ids or input_embeds should be provided.") //nolint:staticcheck,revive // SGLang's own words
		}
		many = [][]int32{single}
	}
	type params struct {
		Max *int64 `json:"max_new_tokens"`
	}
	var each []params
	if json.Unmarshal(sampling, &each) != nil {
		var p params
		if err := json.Unmarshal(sampling, &p); err != nil {
			return w, err
		}
		for range many {
			each = append(each, p)
		}
	}
	if len(each) != len(many) {
		return w, errors.New("the length of sampling_params must be that of input_ids")
	}
	for i, list := range many {
		out := int64(128)
		if each[i].Max != nil {
			out = *each[i].Max
		}
		if len(list) == 0 || int64(len(list))+out > contextLen {
			return w, tooLong(int64(len(list)))
		}
		w.In, w.Out = append(w.In, int64(len(list))), append(w.Out, out)
	}
	return w, nil
}

func outputs(w work, aborted bool) (list []map[string]any) {
	for _, n := range w.Out {
		finish := map[string]any{"type": "length", "length": n}
		if aborted {
			finish = map[string]any{"type": "abort", "message": "Out of memory while extending", "status_code": nil}
		}
		list = append(list, map[string]any{"output_ids": make([]int, n), "meta_info": map[string]any{"finish_reason": finish, "completion_tokens": n}})
	}
	return list
}
