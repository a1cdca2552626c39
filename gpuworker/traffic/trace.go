package traffic

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tracefleet/tracefleet/internal/compressed"
	"github.com/tracefleet/tracefleet/proto"
)

const (
	mostLine = 64 << 20 // bytes of a line: 16 million tokens in blocks of 16 make a million hash ids
	latest   = 8e12     // milliseconds: both times since the start and Unix times fit
)

// trace is the part of a trace file that is played, in order of time.
type trace struct {
	requests []traceRequest
	block    int // prompt tokens that one hash id stands for
}

type traceRequest struct {
	lengths
	at     time.Duration
	hashes []string // names of the prompt's blocks: equal names are equal tokens
	stamp  float64  // milliseconds, of the trace's own clock
}

// readTrace reads the first requests of a file; more are not read. Speed 0: all come at once. The doubts are about --trace-block-size.
func readTrace(path string, want, block int, speed float64) (t *trace, doubts []string, err error) {
	const hint = `correct the line, or leave it out: a request is {"timestamp": milliseconds, "input_length": tokens, "output_length": tokens, "hash_ids": [one a block of --trace-block-size tokens]}`
	if path == "" {
		return nil, nil, proto.Failf(proto.CodeBadTraffic, "traffic: dataset trace has no trace_path").WithHint("pass the trace file, JSON lines, with --trace-path")
	}
	f, err := compressed.Open(path)
	if err != nil {
		return nil, nil, proto.Failf(proto.CodeBadTraffic, "traffic: open trace file: %v", err).WithHint("pass --trace-path a file of JSON lines that this node can read")
	}
	defer f.Close()
	list, line, err := parseTrace(f, want, block)
	if err != nil {
		return nil, nil, proto.Failf(proto.CodeBadTraffic, "traffic: trace file %s, line %d: %v", path, line, err).WithHint(hint)
	}
	if len(list) == 0 {
		return nil, nil, proto.Failf(proto.CodeBadTraffic, "traffic: trace file %s holds no request", path).WithHint("pass --trace-path a file with a line of JSON for each request")
	}
	if note := uncovered(list, block); note != "" {
		doubts = append(doubts, fmt.Sprintf("trace %s: %s", path, note))
	}
	slices.SortStableFunc(list, func(a, b traceRequest) int { return cmp.Compare(a.stamp, b.stamp) })
	if speed > 0 {
		for i := range list {
			after := (list[i].stamp - list[0].stamp) / speed * float64(time.Millisecond)
			list[i].at = time.Duration(min(after, math.MaxInt64/2))
		}
	}
	return &trace{list, block}, doubts, nil
}

// parseTrace reads up to want requests. An error is of the returned line.
func parseTrace(from io.Reader, want, block int) (list []traceRequest, line int, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 64<<10), mostLine)
	names := map[string]string{}                                 // each name is kept once
	for len(list) < want && lines.Scan() && lines.Err() == nil { // after a failed read the rest is a part of a line
		line++
		text := lines.Bytes()
		if line == 1 {
			text = bytes.TrimPrefix(text, byteOrderMark)
		}
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		q, err := parseRequest(text, block, names)
		if err != nil {
			return nil, line, err
		}
		list = append(list, q)
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("it is longer than %d bytes", mostLine)
		}
		return nil, line + 1, err
	}
	return list, line, nil
}

func parseRequest(text []byte, block int, names map[string]string) (q traceRequest, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return q, fmt.Errorf("it is not a JSON object: %s", short(text))
	}
	if q.stamp, err = number(fields, "timestamp", 0, latest); err != nil {
		return q, err
	}
	in, err := whole(fields, "input_length", 1)
	if err != nil {
		return q, err
	}
	out, err := whole(fields, "output_length", 0)
	if err != nil {
		return q, err
	}
	q.lengths = lengths{in, max(out, 1)} // a prefill makes a token, wanted or not
	raw, ok := fields["hash_ids"]
	if !ok {
		return q, nil
	}
	if q.hashes, err = blockNames(raw, names); err != nil {
		return q, err
	}
	if n, most := len(q.hashes), blocks(in, block); n > most {
		err := fmt.Errorf("field hash_ids has %d blocks, but input_length %d has at most %d of %d tokens", n, in, most, block)
		if fits := fittingBlock(blockRange(in, n)); fits > 0 {
			err = fmt.Errorf("%w; pass --trace-block-size %d", err, fits)
		}
		return q, err
	}
	return q, nil
}

func number(fields map[string]json.RawMessage, name string, least, most float64) (float64, error) {
	raw, ok := fields[name]
	if !ok {
		return 0, fmt.Errorf("field %s is missing", name)
	}
	v, err := strconv.ParseFloat(string(raw), 64) // JSON's numbers, and of what else JSON has only texts in quotes and words
	if err != nil || !(v >= least && v <= most) {
		return 0, fmt.Errorf("field %s is %s, must be a number from %g to %g", name, short(raw), least, most)
	}
	return v, nil
}

func whole(fields map[string]json.RawMessage, name string, least int) (int, error) {
	v, err := number(fields, name, float64(least), proto.MaxTokens)
	if err != nil {
		return 0, err
	}
	if v != float64(int(v)) {
		return 0, fmt.Errorf("field %s is %s, must be a whole number", name, short(fields[name]))
	}
	return int(v), nil
}

// short quotes a value for an error.
func short(raw []byte) string {
	const most = 80
	if len(raw) > most {
		return fmt.Sprintf("%q…", raw[:most])
	}
	return fmt.Sprintf("%q", raw)
}

// cut shortens requests of more than most tokens and returns how many. 0: no limit.
func (t *trace) cut(most int) (n int) {
	if most == 0 {
		return 0
	}
	for i, q := range t.requests {
		if fit := q.lengths.cut(most); fit != q.lengths {
			t.requests[i].lengths = fit
			n++
		}
	}
	return n
}

// fill returns a prompt of blocks, each a function of its name, and of the request's own tokens.
func fill[T any](s *Source, q traceRequest, own *rand.Rand, draw func(*rand.Rand, int) []T) []T {
	list := make([]T, 0, q.in)
	for _, name := range q.hashes {
		list = append(list, draw(s.random("block/"+name), min(s.trace.block, q.in-len(list)))...)
	}
	return append(list, draw(own, q.in-len(list))...)
}
