package traffic

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"reflect"

	"github.com/tracefleet/tracefleet/proto"
)

const (
	bytesPerToken = 4         // of English text, without a tokenizer
	shortest      = 2         // tokens of a prompt or an answer, below which it is left out
	mostKept      = 1 << 20   // conversations of which the lengths are kept
	mostText      = 256 << 20 // bytes of prompts that are kept for chat
	mostEntry     = 64 << 20  // bytes of one conversation
)

// conversations is a sample of a ShareGPT file.
type conversations struct {
	path string
	kept []conversation

	read, fit        int // conversations in the file; those that could have been kept
	few, short, long int // left out: too few turns, too short, too long a prompt
}

type conversation struct {
	lengths
	text string // of the prompt; only for chat
}

func (c *conversations) String() string {
	return fmt.Sprintf("sharegpt %s: %d of %d conversations fit, %d drawn; left out are %d of fewer than two turns, %d too short, %d with too long a prompt",
		c.path, c.fit, c.read, len(c.kept), c.few, c.short, c.long)
}

// entry is one conversation as a ShareGPT file has it. Some files call the turns conversation.
type entry struct {
	Conversations []*turn `json:"conversations"`
	Conversation  []*turn `json:"conversation"`
}

type turn struct {
	Value *string `json:"value"`
}

// first gives the first two turns, or fewer, and what is wrong with them.
func (e *entry) first() ([]*turn, error) {
	name, turns := "conversations", e.Conversations
	if turns == nil {
		if turns = e.Conversation; turns == nil {
			return nil, errors.New("field conversations is missing")
		}
		name = "conversation"
	}
	turns = turns[:min(len(turns), 2)]
	for i, t := range turns {
		if t == nil || t.Value == nil {
			return nil, fmt.Errorf("field %s[%d].value is missing, must be a text", name, i)
		}
	}
	return turns, nil
}

// readShareGPT streams a ShareGPT file, a JSON array of conversations, and keeps a uniform sample of those whose prompt has at
// most isl tokens, in random order.
func readShareGPT(path string, want, isl int, texts bool, rng *rand.Rand) (*conversations, error) {
	const hint = "give --sharegpt-path a ShareGPT JSON file that this worker can read, or use --dataset random"
	f, err := os.Open(path)
	if err != nil {
		return nil, proto.Failf(proto.CodeBadTraffic, "traffic: open ShareGPT file: %v", err).WithHint(hint)
	}
	defer f.Close()
	want = min(want, mostKept)
	if texts {
		want = min(want, max(mostText/(isl*bytesPerToken), 1))
	}
	c := &conversations{path: path}
	if err := c.sample(f, want, isl, texts, rng); err != nil {
		return nil, proto.Failf(proto.CodeBadTraffic, "traffic: ShareGPT file %s: %v", path, err).WithHint(hint)
	}
	if len(c.kept) == 0 {
		return nil, proto.Failf(proto.CodeBadTraffic, "traffic: no conversation in ShareGPT file %s can be used: of %d, %d have fewer than two turns, "+
			"%d a prompt or an answer of fewer than %d tokens, %d a prompt of more than %d", path, c.read, c.few, c.short, shortest, c.long, isl).
			WithHint("raise --isl, or give another file with --sharegpt-path")
	}
	return c, nil
}

func (c *conversations) sample(from io.Reader, want, isl int, texts bool, rng *rand.Rand) error {
	bounded := &boundedReader{from: bufio.NewReaderSize(from, 1<<20), left: mostEntry}
	dec := json.NewDecoder(bounded)
	if t, err := dec.Token(); err != nil {
		return fmt.Errorf("it holds no JSON: %w", ended(err))
	} else if t != json.Delim('[') {
		return fmt.Errorf("it begins with %v, must be a JSON array of conversations", t)
	}
	for dec.More() {
		var e entry
		bounded.left = mostEntry
		if err := dec.Decode(&e); err != nil {
			return fmt.Errorf("entry %d: %w", c.read, inField(ended(err)))
		}
		turns, err := e.first()
		if err != nil {
			return fmt.Errorf("entry %d: %w", c.read, err)
		}
		c.read++
		l := lengths{}
		if len(turns) == 2 {
			l = lengths{len(*turns[0].Value) / bytesPerToken, len(*turns[1].Value) / bytesPerToken}
		}
		switch {
		case len(turns) < 2:
			c.few++
			continue
		case l.in < shortest || l.out < shortest:
			c.short++
			continue
		case l.in > isl:
			c.long++
			continue
		}
		c.fit++
		one := conversation{lengths: l}
		if texts {
			one.text = *turns[0].Value
		}
		// The n-th that fits is kept with probability want/n, in the place of any other.
		if len(c.kept) < want {
			c.kept = append(c.kept, one)
		} else if at := rng.IntN(c.fit); at < want {
			c.kept[at] = one
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("after entry %d: %w", c.read-1, ended(err))
	}
	rng.Shuffle(len(c.kept), func(i, j int) { c.kept[i], c.kept[j] = c.kept[j], c.kept[i] })
	return nil
}

// ended names what a file that stops in the middle looks like to a decoder.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle: is it downloaded in full?")
	}
	return err
}

// inField says which field has the wrong type.
func inField(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		if wrong.Field == "" {
			return fmt.Errorf("it is a JSON %s, must be an object", wrong.Value)
		}
		want := "an array of objects"
		if wrong.Type.Kind() == reflect.String {
			want = "a text"
		}
		return fmt.Errorf("field %s is a JSON %s, must be %s", wrong.Field, wrong.Value, want)
	}
	return err
}

// boundedReader fails when it has read more than left, which is set anew for each entry: a decoder holds an entry in memory.
type boundedReader struct {
	from io.Reader
	left int
}

func (r *boundedReader) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, fmt.Errorf("it is longer than %d bytes", mostEntry)
	}
	n, err := r.from.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}
