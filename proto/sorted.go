package proto

import (
	"cmp"
	"maps"
	"slices"

	"github.com/vmihailenco/msgpack/v5"
)

// The library sorts maps of strings only. What has other maps encodes itself, so that equal messages have equal bytes.

// EncodeMsgpack implements msgpack.CustomEncoder.
func (t Tally) EncodeMsgpack(enc *msgpack.Encoder) error {
	f := fields{enc: enc}
	f.begin(3 + present(len(t.Rejected)))
	f.number("workload", t.Workload)
	f.number("duplicate", t.Duplicate)
	f.number("not_selected", t.NotSelected)
	if len(t.Rejected) > 0 {
		f.key("rejected")
		encodeSorted(&f, t.Rejected, enc.EncodeString)
	}
	return f.err
}

// EncodeMsgpack implements msgpack.CustomEncoder.
func (s Seen) EncodeMsgpack(enc *msgpack.Encoder) error {
	f := fields{enc: enc}
	f.begin(present(len(s.Axes)) + present(len(s.KVLen)))
	if len(s.Axes) > 0 {
		f.key("axes")
		f.begin(len(s.Axes))
		for _, axis := range slices.Sorted(maps.Keys(s.Axes)) {
			f.key(axis)
			encodeSorted(&f, s.Axes[axis], enc.EncodeInt)
		}
	}
	if len(s.KVLen) > 0 {
		f.key("kv_len")
		encodeSorted(&f, s.KVLen, enc.EncodeInt)
	}
	return f.err
}

// fields writes maps and keeps the first error.
type fields struct {
	enc *msgpack.Encoder
	err error
}

func (f *fields) do(err error) {
	if f.err == nil {
		f.err = err
	}
}

func (f *fields) begin(n int)     { f.do(f.enc.EncodeMapLen(n)) }
func (f *fields) key(name string) { f.do(f.enc.EncodeString(name)) }
func (f *fields) number(name string, n int) {
	f.key(name)
	f.do(f.enc.EncodeInt(int64(n)))
}

func encodeSorted[K cmp.Ordered](f *fields, m map[K]int, key func(K) error) {
	f.begin(len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		f.do(key(k))
		f.do(f.enc.EncodeInt(int64(m[k])))
	}
}

func present(n int) int { return min(n, 1) }
