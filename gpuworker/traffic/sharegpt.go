package traffic

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/tracefleet/tracefleet/internal/compressed"
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

	read, fit             int // rows of the file; those that could have been kept
	bad, few, short, long int // left out: no conversation of texts, too few turns, too short, too long a prompt
}

type conversation struct {
	lengths
	text string // of the prompt; only for chat
}

func (c *conversations) String() string {
	return fmt.Sprintf("sharegpt %s: %d of %d conversations fit, %d drawn; left out are %d rows without a conversation, %d of fewer than two turns, %d too short, %d with too long a prompt",
		c.path, c.fit, c.read, len(c.kept), c.bad, c.few, c.short, c.long)
}

// entry is one row of a ShareGPT file. Some files call the turns conversation.
type entry struct {
	Conversations []*turn `json:"conversations"`
	Conversation  []*turn `json:"conversation"`
}

type turn struct {
	Value text `json:"value"`
}

// text is a JSON value; ok reports that it is a string.
type text struct {
	string
	ok bool
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	t.ok = data[0] == '"'
	if !t.ok {
		return nil
	}
	return json.Unmarshal(data, &t.string)
}

// first returns the first two turns, or fewer; false if there is no list of turns, or one of the two has no text.
func (e *entry) first() ([]*turn, bool) {
	turns := e.Conversations
	if turns == nil {
		turns = e.Conversation
	}
	turns = turns[:min(len(turns), 2)]
	for _, t := range turns {
		if t == nil || !t.Value.ok {
			return nil, false
		}
	}
	return turns, turns != nil
}

// readShareGPT streams a ShareGPT file, a JSON array or JSON lines of conversations, and keeps a uniform sample of those whose prompt has at
// most isl tokens, in random order. Rows that are no conversation are left out and counted.
func readShareGPT(path string, want, isl int, texts bool, rng *rand.Rand) (*conversations, error) {
	const hint = "pass --sharegpt-path a ShareGPT JSON file that this node can read, or use --dataset random"
	f, err := compressed.Open(path)
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
		return nil, proto.Failf(proto.CodeBadTraffic, "traffic: no conversation in ShareGPT file %s can be used: of %d rows, %d have no list of turns with texts in conversations, "+
			"%d fewer than two turns, %d a prompt or an answer of fewer than %d tokens, %d a prompt of more than %d", path, c.read, c.bad, c.few, c.short, shortest, c.long, isl).
			WithHint("raise --isl, or pass another file with --sharegpt-path")
	}
	return c, nil
}

func (c *conversations) sample(from io.Reader, want, isl int, texts bool, rng *rand.Rand) error {
	in := bufio.NewReaderSize(from, 1<<20)
	if head, _ := in.Peek(len(byteOrderMark)); bytes.Equal(head, byteOrderMark) {
		_, _ = in.Discard(len(byteOrderMark)) // they were peeked
	}
	first, err := firstByte(in)
	if err != nil {
		return fmt.Errorf("it holds no JSON: %w", ended(err))
	}
	bounded := &boundedReader{from: in, left: mostEntry}
	dec := json.NewDecoder(bounded)
	switch first {
	case '{': // JSON lines
	case '[':
		if _, err := dec.Token(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("it begins with %q, must be a JSON array or JSON lines of conversations", first)
	}
	for dec.More() {
		var e entry
		bounded.left = mostEntry
		// An entry of another type is skipped by the decoder as a whole, and what of it has the right type is in e.
		var wrong *json.UnmarshalTypeError
		if err := dec.Decode(&e); err != nil && !errors.As(err, &wrong) {
			return fmt.Errorf("entry %d: %w", c.read, ended(err))
		}
		c.read++
		turns, ok := e.first()
		l := lengths{}
		if len(turns) == 2 {
			l = lengths{len(turns[0].Value.string) / bytesPerToken, len(turns[1].Value.string) / bytesPerToken}
		}
		switch {
		case !ok:
			c.bad++
			continue
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
			one.text = turns[0].Value.string
		}
		// The n-th that fits is kept with probability want/n, in the place of any other.
		if len(c.kept) < want {
			c.kept = append(c.kept, one)
		} else if at := rng.IntN(c.fit); at < want {
			c.kept[at] = one
		}
	}
	if first == '[' {
		if _, err := dec.Token(); err != nil {
			return fmt.Errorf("after entry %d: %w", c.read-1, ended(err))
		}
	}
	if t, err := dec.Token(); err == nil {
		return fmt.Errorf("after entry %d, the last: %v follows the end of the array", c.read-1, t)
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("after entry %d: %w", c.read-1, err)
	}
	rng.Shuffle(len(c.kept), func(i, j int) { c.kept[i], c.kept[j] = c.kept[j], c.kept[i] })
	return nil
}

// ended explains the error of a decoder for a file that stops in the middle.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends in the middle: is it downloaded in full?")
	}
	return err
}

// firstByte skips white space and returns the next byte, which stays unread.
func firstByte(in *bufio.Reader) (byte, error) {
	for {
		b, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, in.UnreadByte()
		}
	}
}

// boundedReader fails when it has read more than left, which is reset for each entry: a decoder holds an entry in memory.
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
