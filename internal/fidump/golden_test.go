package fidump

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// corpora gives every directory of golden and real dumps by name.
func corpora(t testing.TB) map[string]string {
	t.Helper()
	root := goldentest.Dumps(t)
	cases, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range cases {
		found[c.Name()] = filepath.Join(root, c.Name())
	}
	found["real_a"], found["real_c"] = goldentest.RealDumps(t, "a"), goldentest.RealDumps(t, "c")
	return found
}

// dumpDirs gives the dump directories of a corpus and the replays below them.
func dumpDirs(t testing.TB, root string) []string {
	t.Helper()
	names, err := List(root)
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for _, n := range names {
		dir := filepath.Join(root, n.Dir)
		dirs = append(dirs, dir)
		flushes, err := Flushes(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range flushes {
			dirs = append(dirs, FlushDir(dir, f))
		}
	}
	return dirs
}

// TestGolden_EveryDump reads every dump there is: each must give a record and tensors, or be one of the damaged ones.
func TestGolden_EveryDump(t *testing.T) {
	t.Parallel()
	for corpus, root := range corpora(t) {
		t.Run(corpus, func(t *testing.T) {
			t.Parallel()
			states := map[State]int{}
			var bad []string
			for _, dir := range dumpDirs(t, root) {
				rec, state, err := ReadRecord(filepath.Join(dir, MetadataFile))
				states[state]++
				if err != nil {
					t.Errorf("%v", err)
				}
				if rec == nil {
					bad = append(bad, filepath.Base(dir)+" "+state.String())
					continue
				}
				checkRecord(t, dir, rec)
				if state == GraphPending {
					continue
				}
				in, err := OpenInputs(dir, rec)
				var cut *safetensors.FormatError
				if errors.As(err, &cut) {
					bad = append(bad, filepath.Base(dir)+" "+cut.Field)
					continue
				}
				if err != nil {
					t.Errorf("%v", err)
					continue
				}
				checkInputs(t, dir, in, rec)
				if err := in.Close(); err != nil {
					t.Error(err)
				}
			}
			slices.Sort(bad)
			want := map[string][]string{
				"partial": {
					"20261123_134552_195_pid6147_BatchDecodeWithPagedKVCacheWrapper.run_call0007 absent",
					"20990101_000000_000_pid1_BatchDecodeWithPagedKVCacheWrapper.run_call0001 absent",
				},
				"corrupt": {"20261123_134605_768_pid6164_BatchDecodeWithPagedKVCacheWrapper.run_call0003 data_offsets"},
			}[corpus]
			if !slices.Equal(bad, want) {
				t.Errorf("damaged: %q, want %q", bad, want)
			}
			if wantSaved := map[string]int{"partial": 2}[corpus]; states[InputsSaved] != wantSaved {
				t.Errorf("%d dumps with inputs only, want %d", states[InputsSaved], wantSaved)
			}
			if states[Completed] == 0 && !strings.HasPrefix(corpus, "graph") {
				t.Error("no completed dump")
			}
		})
	}
}

func checkRecord(t *testing.T, dir string, rec *Record) {
	t.Helper()
	base := dir
	if rec.BaseDumpDir != "" {
		base = filepath.Dir(filepath.Dir(dir))
	}
	name, ok := ParseName(base)
	dump, flush := rec.Dump()
	if !ok || name.Dir != dump || name.Function != rec.FunctionName || name.PID != rec.ProcessID || name.Sequence != rec.CallSequence || name.Time != rec.Timestamp {
		t.Errorf("%s: record is of %s %s %d %d %s", dir, dump, rec.FunctionName, rec.ProcessID, rec.CallSequence, rec.Timestamp)
	}
	if rec.BaseDumpDir != "" && FlushDir(base, flush) != dir {
		t.Errorf("%s: record is of replay %d", dir, flush)
	}
	if rec.Signature == "" || rec.Module == "" || rec.Versions["flashinfer"] == "" || rec.InputBytes == 0 && len(rec.Tensors) > 0 {
		t.Errorf("%s: record lacks fields: %+v", dir, rec)
	}
}

func checkInputs(t *testing.T, dir string, in Inputs, rec *Record) {
	t.Helper()
	if len(in.Tensors()) != len(rec.Tensors) {
		t.Errorf("%s: %d tensors, record says %d", dir, len(in.Tensors()), len(rec.Tensors))
	}
	total := int64(0)
	for _, tensor := range in.Tensors() {
		total += tensor.Nbytes
		if len(tensor.Stride) != len(tensor.Shape) {
			t.Errorf("%s %s: stride %v of shape %v", dir, tensor.Key, tensor.Stride, tensor.Shape)
		}
		if d, ok := safetensors.FromTorch(tensor.DType); !ok || !d.Integer() {
			continue
		}
		data, err := in.Read(tensor.Key)
		if err != nil || int64(len(data)) != tensor.Nbytes {
			t.Errorf("%s %s: %d bytes of %d, %v", dir, tensor.Key, len(data), tensor.Nbytes, err)
		}
	}
	if total != rec.InputBytes {
		t.Errorf("%s: tensors have %d bytes, record says %d", dir, total, rec.InputBytes)
	}
}

// TestGolden_EncodesAsFlashInferDid parses each first record and writes it again: equal bytes show that nothing was lost in
// either direction, and that the Writer's form is FlashInfer's.
func TestGolden_EncodesAsFlashInferDid(t *testing.T) {
	t.Parallel()
	compared := 0
	for corpus, root := range corpora(t) {
		for _, dir := range dumpDirs(t, root) {
			data, err := os.ReadFile(filepath.Join(dir, MetadataFile))
			if err != nil {
				continue
			}
			line, _, whole := bytes.Cut(data, []byte{'\n'})
			if !whole || bytes.Contains(line, []byte(`"output_size_bytes"`)) {
				continue // a snapshot's: its call had returned, and outputs' values are not kept
			}
			rec, err := parseRecord(string(line))
			if err != nil {
				t.Fatalf("%s: %v", dir, err)
			}
			got := encodeRecord(rec, nil, 0, false)
			line = bytes.ReplaceAll(line, []byte(`"cuda:0"`), []byte(`"cpu"`)) // the one field that is not kept
			if !bytes.Equal(got, line) {
				t.Fatalf("%s %s\nwrote %s\nread  %s", corpus, dir, got, line)
			}
			compared++
		}
	}
	if compared < 600 {
		t.Errorf("only %d records compared", compared)
	}
}

// TestGolden_TorchDigests holds what is read from inputs.pt against the digests in the truth.
func TestGolden_TorchDigests(t *testing.T) {
	t.Parallel()
	root := filepath.Join(goldentest.Dumps(t), "torch_format")
	truth, err := os.ReadFile(filepath.Join(goldentest.Dir(t), "truth", "torch_format.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var read [][]byte
	for _, dir := range dumpDirs(t, root) {
		in, err := OpenInputs(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		for _, tensor := range in.Tensors() {
			data, err := in.Read(tensor.Key)
			if err != nil {
				t.Fatal(err)
			}
			read = append(read, data)
		}
	}
	checked := 0
	for line := range bytes.Lines(truth) {
		var want struct {
			Inputs map[string]struct {
				Shape  []int64 `json:"shape"`
				SHA256 string  `json:"sha256"`
			} `json:"inputs"`
		}
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatal(err)
		}
		for name, in := range want.Inputs {
			if in.SHA256 == "" {
				continue
			}
			checked++
			if !slices.ContainsFunc(read, func(data []byte) bool {
				// int32 throughout; kv_indices are cut to what kv_indptr says, which is not this package's affair
				sum := sha256.Sum256(data[:min(int64(len(data)), 4*in.Shape[0])])
				return hex.EncodeToString(sum[:]) == in.SHA256
			}) {
				t.Errorf("input %s with digest %s was not read from any dump", name, in.SHA256)
			}
		}
	}
	if checked == 0 {
		t.Error("the truth has no digests")
	}
}

// TestGolden_SessionNamesEveryDump: the session knows every dump and replay that has a record.
func TestGolden_SessionNamesEveryDump(t *testing.T) {
	t.Parallel()
	for corpus, root := range corpora(t) {
		s := NewSession(root)
		if err := s.Update(); err != nil {
			t.Fatal(err)
		}
		for _, dir := range dumpDirs(t, root) {
			rec, _, _ := ReadRecord(filepath.Join(dir, MetadataFile))
			if rec == nil {
				continue
			}
			dump, flush := rec.Dump()
			if _, ok := s.Position(CallID{dump, flush}); !ok && corpus != "partial" {
				t.Errorf("%s: %s flush %d is not in the session", corpus, dump, flush)
			}
		}
		if s.Damaged() != 0 {
			t.Errorf("%s: %d damaged lines", corpus, s.Damaged())
		}
	}
}

// TestGolden_SessionOrdersSameMillisecond: names sort every plan before every run there; the session does not.
func TestGolden_SessionOrdersSameMillisecond(t *testing.T) {
	t.Parallel()
	root := filepath.Join(goldentest.Dumps(t), "same_ms")
	names, err := List(root)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSession(root)
	if err := s.Update(); err != nil {
		t.Fatal(err)
	}
	byName := kinds(names)
	slices.SortFunc(names, func(a, b Name) int {
		pa, ok1 := s.Position(CallID{Dump: a.Dir})
		pb, ok2 := s.Position(CallID{Dump: b.Dir})
		if !ok1 || !ok2 {
			t.Errorf("%s or %s is not in the session", a.Dir, b.Dir)
		}
		return cmp.Compare(pa, pb)
	})
	bySession := kinds(names)
	if byName == bySession || !strings.Contains(bySession, "rp") {
		t.Errorf("by name %s, by session %s", byName, bySession)
	}
}

// kinds writes p for a plan and r for a run.
func kinds(names []Name) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteByte(n.Function[strings.LastIndexByte(n.Function, '.')+1])
	}
	return b.String()
}
