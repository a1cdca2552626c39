package fidump

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/internal/safetensors"
)

const benchDumps = 5000

// benchCorpus writes 5,000 dumps, plans and runs of four layers each, with key and value pools as holes: 80 GB of file sizes.
func benchCorpus(b *testing.B) (root string, dirs []string) {
	b.Helper()
	root = b.TempDir()
	w := NewWriter(root, 4242, map[string]string{"torch": "2.11.0", "python": "3.11.7", "flashinfer": "0.7.2"})
	const class = "BatchDecodeWithPagedKVCacheWrapper"
	signature := "(self, q: torch.Tensor, paged_kv_cache: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]], *args, " +
		"q_scale: Optional[float] = None, k_scale: Optional[float] = None, v_scale: Optional[float] = None) -> torch.Tensor"
	self := ObjectArg("arg_0", class, "<flashinfer.decode."+class+" object at 0x7f1df080bcd0>")
	at := time.Date(2026, 11, 23, 13, 0, 0, 0, time.UTC)
	for i := range benchDumps {
		at = at.Add(3 * time.Millisecond)
		call := Call{Time: at, Module: "flashinfer.decode", Signature: signature, SelfID: 139766565747920}
		var out []Value
		if i%5 == 0 {
			call.Function = class + ".plan"
			call.Args = []Value{self, TensorArg("arg_1", "int32", []int64{33}, make([]byte, 132)), TensorArg("arg_2", "int32", []int64{1500}, make([]byte, 6000)),
				TensorArg("arg_3", "int32", []int64{32}, make([]byte, 128)), IntArg("arg_4", 32), IntArg("arg_5", 8), IntArg("arg_6", 128), IntArg("arg_7", 1),
				DTypeArg("kwarg_q_data_type", "bfloat16"), BoolArg("kwarg_non_blocking", true)}
		} else {
			pool := TensorArg("", "bfloat16", []int64{4096, 8, 128}, nil)
			call.Function = class + ".run"
			call.Args = []Value{self, TensorArg("arg_1", "bfloat16", []int64{32, 32, 128}, nil), TupleArg("arg_2", pool, pool), NoneArg("kwarg_q_scale")}
			out = []Value{TensorArg("", "bfloat16", []int64{32, 32, 128}, nil)}
		}
		p, err := w.Begin(call)
		if err == nil {
			err = p.Return(out...)
		}
		if err != nil {
			b.Fatal(err)
		}
		dirs = append(dirs, p.Dir())
	}
	return root, dirs
}

// bareRead is the least that any converter must do for a dump: read the metadata, the header, and the integer tensors, found by
// a search for their dtype and no parsing. It gives the bytes of the tensors.
func bareRead(dir string) (int, error) {
	if _, err := os.ReadFile(filepath.Join(dir, MetadataFile)); err != nil {
		return 0, err
	}
	f, err := os.Open(filepath.Join(dir, "inputs.safetensors"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var length [8]byte
	if _, err := f.ReadAt(length[:], 0); err != nil {
		return 0, err
	}
	header := make([]byte, binary.LittleEndian.Uint64(length[:]))
	if _, err := f.ReadAt(header, 8); err != nil {
		return 0, err
	}
	total := 0
	for rest := header; ; {
		at := bytes.Index(rest, []byte(`"dtype":"I`))
		if at < 0 {
			return total, nil
		}
		rest = rest[at:]
		rest = rest[bytes.Index(rest, []byte(`"data_offsets":[`))+len(`"data_offsets":[`):]
		comma, end := bytes.IndexByte(rest, ','), bytes.IndexByte(rest, ']')
		from, err1 := strconv.Atoi(string(rest[:comma]))
		to, err2 := strconv.Atoi(string(rest[comma+1 : end]))
		if err1 != nil || err2 != nil {
			return 0, fmt.Errorf("offsets %q", rest[:end])
		}
		data := make([]byte, to-from)
		if _, err := f.ReadAt(data, int64(8+len(header)+from)); err != nil {
			return 0, err
		}
		total += len(data)
	}
}

// fullRead does the same through this package.
func fullRead(dir string) (int, error) {
	rec, _, err := ReadRecord(filepath.Join(dir, MetadataFile))
	if err != nil {
		return 0, err
	}
	in, err := OpenInputs(dir, rec)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	total := 0
	for _, t := range in.Tensors() {
		if d, ok := safetensors.FromTorch(t.DType); !ok || !d.Integer() {
			continue
		}
		data, err := in.Read(t.Key)
		if err != nil {
			return 0, err
		}
		total += len(data)
	}
	return total, nil
}

// BenchmarkRead5000 reads 5,000 dumps with the bare loop and through the package in turn, and gives the ratio of their times.
func BenchmarkRead5000(b *testing.B) {
	root, dirs := benchCorpus(b)
	var bare, full, list, session time.Duration
	timed := func(sum *time.Duration, work func()) {
		start := time.Now()
		work()
		*sum += time.Since(start)
	}
	sum := func(read func(string) (int, error)) int {
		total := 0
		for _, dir := range dirs {
			n, err := read(dir)
			if err != nil {
				b.Fatal(err)
			}
			total += n
		}
		return total
	}
	for b.Loop() {
		var n, m int
		timed(&bare, func() { n = sum(bareRead) })
		timed(&full, func() { m = sum(fullRead) })
		if n != m || n == 0 {
			b.Fatalf("the bare loop read %d bytes of tensors, the package %d", n, m)
		}
		timed(&list, func() {
			if names, err := List(root); err != nil || len(names) != benchDumps {
				b.Fatal(len(names), err)
			}
		})
		timed(&session, func() {
			s := NewSession(root)
			if err := s.Update(); err != nil || s.Len() != benchDumps {
				b.Fatal(s.Len(), err)
			}
		})
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) / 1000 }
	b.ReportMetric(per(bare), "bare-ms")
	b.ReportMetric(per(full), "fidump-ms")
	b.ReportMetric(per(list), "list-ms")
	b.ReportMetric(per(session), "session-ms")
	b.ReportMetric(float64(full)/float64(bare), "fidump/bare")
}
