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
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/tracefleet/tracefleet/proto"
)

const (
	blockTokens = 512     // prompt tokens that one hash id stands for
	mostLine    = 4 << 20 // bytes of a line: 16 million tokens make 32,768 hash ids
	latest      = 8e12    // milliseconds: both times since the start and Unix times fit
	maxSpeed    = 1e6
)

// trace is the part of a trace file that is played, in order of time.
type trace struct{ requests []traceRequest }

type traceRequest struct {
	lengths
	at     time.Duration
	hashes []int64
	stamp  float64 // milliseconds, of the trace's own clock
}

// readTrace reads the first requests of a file; more are not looked at. Speed 0: all come at once.
func readTrace(path string, want int, speed float64) (*trace, error) {
	const hint = `correct the line, or leave it out: a request is {"timestamp": milliseconds, "input_length": tokens, "output_length": tokens, "hash_ids": [one a block of 512 tokens]}`
	if path == "" {
		return nil, proto.Failf(proto.CodeBadTraffic, "traffic: dataset trace has no trace_path").WithHint("give the trace file, JSON lines, with --trace-path")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, proto.Failf(proto.CodeBadTraffic, "traffic: open trace file: %v", err).WithHint("give --trace-path a file that this worker can read")
	}
	defer f.Close()
	list, line, err := parseTrace(f, want)
	if err != nil {
		return nil, proto.Failf(proto.CodeBadTraffic, "traffic: trace file %s, line %d: %v", path, line, err).WithHint(hint)
	}
	if len(list) == 0 {
		return nil, proto.Failf(proto.CodeBadTraffic, "traffic: trace file %s holds no request", path).WithHint("give --trace-path a file with a line of JSON for each request")
	}
	slices.SortStableFunc(list, func(a, b traceRequest) int { return cmp.Compare(a.stamp, b.stamp) })
	if speed > 0 {
		for i := range list {
			after := (list[i].stamp - list[0].stamp) / speed * float64(time.Millisecond)
			list[i].at = time.Duration(min(after, math.MaxInt64/2))
		}
	}
	return &trace{list}, nil
}

// parseTrace reads up to want requests. An error is of the line given.
func parseTrace(from io.Reader, want int) (list []traceRequest, line int, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 64<<10), mostLine)
	for len(list) < want && lines.Scan() {
		line++
		text := bytes.TrimSpace(lines.Bytes())
		if len(text) == 0 {
			continue
		}
		q, err := parseRequest(text)
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

func parseRequest(text []byte) (q traceRequest, err error) {
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
	if err := json.Unmarshal(raw, &q.hashes); err != nil {
		return q, fmt.Errorf("field hash_ids is %s, must be an array of whole numbers", short(raw))
	}
	if most := (in + blockTokens - 1) / blockTokens; len(q.hashes) > most {
		return q, fmt.Errorf("field hash_ids has %d blocks of %d tokens, but input_length %d has at most %d", len(q.hashes), blockTokens, in, most)
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
	v, err := number(fields, name, float64(least), mostTokens)
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

// cut shortens requests of more than most tokens and says how many. 0: no limit.
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

// fill makes a prompt of blocks, each a function of its hash id, and of what is the request's own.
func fill[T any](s *Source, q traceRequest, own *rand.Rand, draw func(*rand.Rand, int) []T) []T {
	list := make([]T, 0, q.in)
	for _, id := range q.hashes {
		list = append(list, draw(s.rng("block", int(id)), min(blockTokens, q.in-len(list)))...)
	}
	return append(list, draw(own, q.in-len(list))...)
}
