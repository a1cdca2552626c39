package traffic

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/tracefleet/tracefleet/proto"
)

// FuzzTrace: whatever a trace file holds, it is refused in words or gives requests within bounds.
func FuzzTrace(f *testing.F) {
	for _, s := range []string{
		`{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}`, "\n\n{}", `{"timestamp": 1e309}`, `[]`, "{",
		`{"timestamp": 1.5, "input_length": 1e3, "output_length": -0, "hash_ids": null}`, `{"timestamp": 1, "input_length": 16777217, "output_length": 1}`,
		`{"timestamp": 1, "input_length": 16777216, "output_length": 1, "hash_ids": [18446744073709551615, -1, "a", 1e3]}`, "\xef\xbb\xbf{}\r\n",
	} {
		f.Add([]byte(s), 512)
		f.Add([]byte(s), 16)
	}
	f.Fuzz(func(t *testing.T, data []byte, block int) {
		block = min(max(block, 1), proto.MaxTokens)
		list, line, err := parseTrace(bytes.NewReader(data), 8, block)
		if err != nil && (line < 1 || list != nil) {
			t.Fatalf("error of line %d with %d requests: %v", line, len(list), err)
		}
		if len(list) > 8 {
			t.Fatalf("%d requests", len(list))
		}
		_ = uncovered(list, block)
		tr := &trace{list, block}
		tr.cut(1000)
		s := &Source{low: 0, high: 10, trace: tr}
		for _, q := range list {
			if q.in < 1 || q.out < 1 || q.in+q.out > 1000 || !(q.stamp >= 0) {
				t.Fatalf("request %+v", q)
			}
			if got := len(fill(s, q, rand.New(rand.NewPCG(1, 1)), s.draw)); got != q.in {
				t.Fatalf("prompt of %d tokens for %+v", got, q)
			}
		}
	})
}

// FuzzShareGPT: whatever a ShareGPT file holds, it is refused in words or its conversations are all accounted for.
func FuzzShareGPT(f *testing.F) {
	for _, s := range []string{
		`[{"conversations": [{"value": "aaaaaaaaaaaa"}, {"value": "bbbbbbbbbbbb"}]}]`, `[`, `[{}]`, `{}`, `[{"conversation": [null]}]`,
		`[{"conversations": [{"value": 1}]}, 5]`, "[\"\xff\"]",
		"\xef\xbb\xbf[null, {\"conversations\": 5}, 7]", "{\"conversations\": [{\"value\": []}]}\n{}", "[]]", `[{"conversations": [{"value": "\ud800"}, []]}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := &conversations{}
		if err := c.sample(bytes.NewReader(data), 3, 8, true, rand.New(rand.NewPCG(1, 1))); err != nil {
			return
		}
		if c.bad+c.few+c.short+c.long+c.fit != c.read || len(c.kept) != min(c.fit, 3) {
			t.Fatalf("%+v", c)
		}
		for _, k := range c.kept {
			if k.in < shortest || k.in > 8 || k.out < shortest || k.text == "" {
				t.Fatalf("kept %+v", k)
			}
		}
	})
}
