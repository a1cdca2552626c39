package sglangtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// engine does the work of the Engine in site/sglang: a question a line on standard input, an answer on standard output.
func (o *Options) engine() int {
	o.note("pid %d", os.Getpid())
	questions := bufio.NewScanner(os.Stdin)
	questions.Buffer(nil, 64<<20)
	answers := json.NewEncoder(os.Stdout)
	if !questions.Scan() {
		return 1
	}
	keywords := map[string]any{}
	decoder := json.NewDecoder(bytes.NewReader(questions.Bytes()))
	decoder.UseNumber()
	if err := decoder.Decode(&keywords); err != nil {
		return 1
	}
	t := o.table()
	fields := map[string][]string{}
	var names []string
	for name, value := range keywords {
		names = append(names, name)
		if _, known := t.Keywords[name]; !known {
			_ = answers.Encode(map[string]string{"type_error": fmt.Sprintf("ServerArgs.__init__() got an unexpected keyword argument '%s'", name)})
			return 1
		}
		if on, isBool := value.(bool); !isBool || on {
			fields[name] = []string{fmt.Sprint(value)}
		}
	}
	slices.Sort(names)
	o.note("keywords %s", strings.Join(names, " "))
	g, err := o.start(o.setting(t, fields))
	if err != nil {
		_ = answers.Encode(map[string]string{"error": err.Error()})
		return 1
	}
	if answers.Encode(map[string]bool{"ready": true}) != nil {
		return 1
	}
	for questions.Scan() {
		var q struct {
			Flush    bool            `json:"flush"`
			InputIDs json.RawMessage `json:"input_ids"`
			Sampling json.RawMessage `json:"sampling_params"`
		}
		if err := json.Unmarshal(questions.Bytes(), &q); err != nil {
			return 1
		}
		if q.Flush {
			o.note("flush")
			if answers.Encode(map[string]bool{"success": true}) != nil {
				return 1
			}
			continue
		}
		w, err := batchOf(q.InputIDs, q.Sampling)
		if err == nil && o.FailAfter > 0 && g.done >= o.FailAfter && o.Fail == FailCrash {
			o.logf("", "Scheduler hit an exception: Traceback (most recent call last):")
			fmt.Fprintln(os.Stderr, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
			return 1
		}
		if err == nil {
			err = g.run(w)
		}
		answer := map[string]any{"outputs": outputs(w, o.Fail == FailAbort)}
		if err != nil {
			answer = map[string]any{"error": err.Error()}
		}
		if answers.Encode(answer) != nil {
			return 1
		}
	}
	g.stop()
	return 0
}
