package publisher

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/dataset"
)

// testDefinition is a paged decode definition of pages of 4 tokens.
func testDefinition(t testing.TB, name string) *fitrace.Definition {
	t.Helper()
	data := strings.ReplaceAll(`{
  "name": "NAME", "description": "paged decode for tests", "op_type": "gqa_paged", "tags": ["fi_api:flashinfer.decode.Test"],
  "axes": {
    "batch_size": {"type": "var"}, "num_pages": {"type": "var"}, "len_indptr": {"type": "var"}, "num_kv_indices": {"type": "var"},
    "page_size": {"type": "const", "value": 4}, "dim": {"type": "const", "value": 8}
  },
  "inputs": {
    "q": {"shape": ["batch_size", "dim"], "dtype": "bfloat16"},
    "kv_indptr": {"shape": ["len_indptr"], "dtype": "int32"},
    "kv_indices": {"shape": ["num_kv_indices"], "dtype": "int32"},
    "sm_scale": {"shape": null, "dtype": "float32"}
  },
  "outputs": {"out": {"shape": ["batch_size", "dim"], "dtype": "bfloat16"}},
  "reference": "def run(q, kv_indptr, kv_indices, sm_scale):\n    return q\n"
}
`, "NAME", name)
	d, err := fitrace.ParseDefinition([]byte(data), name+".json")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// store keeps the tensors that are not inline.
type store map[string][]byte

func (s store) get(digest string) ([]byte, error) {
	if data, ok := s[digest]; ok {
		return data, nil
	}
	return nil, proto.Failf(proto.CodeTensorLost, "no tensor %s", digest)
}

func (s store) tensor(name string, values ...int32) proto.Input {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, uint32(v))
	}
	sum := sha256.Sum256(data)
	in := proto.Input{Name: name, Kind: proto.InputSafetensors, DType: "int32", Shape: []int64{int64(len(values))}, Digest: hex.EncodeToString(sum[:])}
	if len(data) <= 16 { // small, so that both ways are taken
		in.Inline = data
	} else {
		s[in.Digest] = data
	}
	return in
}

// candidate is a call with the given pages a request, taken from the pool from page first on.
func (s store) candidate(definition string, first int32, pages ...int32) proto.Candidate {
	indptr, indices := []int32{0}, []int32{}
	for _, n := range pages {
		for range n {
			indices = append(indices, first+int32(len(indices)))
		}
		indptr = append(indptr, int32(len(indices)))
	}
	c := proto.Candidate{
		Definition: definition,
		Axes: []proto.AxisValue{
			{Name: "batch_size", Value: int64(len(pages))}, {Name: "num_pages", Value: int64(first) + int64(len(indices))},
			{Name: "len_indptr", Value: int64(len(indptr))}, {Name: "num_kv_indices", Value: int64(len(indices))},
		},
		Inputs: []proto.Input{
			{Name: "q", Kind: proto.InputRandom}, s.tensor("kv_indptr", indptr...), s.tensor("kv_indices", indices...),
			{Name: "sm_scale", Kind: proto.InputScalar, Scalar: &proto.Value{Type: proto.ValueFloat, Float: 0.125}},
		},
	}
	c.UUID = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Append(nil, c.Definition, c.Axes, c.Inputs[1].Digest, c.Inputs[2].Digest)).String()
	return c
}

func verdict(manifest string, candidates ...proto.Candidate) *proto.Verdict {
	return &proto.Verdict{
		Collection: "c-1", Task: "t000", Attempt: 1, Manifest: manifest, Function: "Test.run", Candidates: candidates,
		Provenance: proto.Provenance{
			Engine: proto.EngineSGLang, Served: proto.Served{Engine: "sglang", Release: "0.5.16"}, Model: "model", Host: "host", Dump: manifest,
		},
	}
}

// simulated marks verdicts as those of simulated calls.
func simulated(list ...*proto.Verdict) []*proto.Verdict {
	for _, v := range list {
		v.Provenance.Engine, v.Provenance.Served, v.Provenance.Simulated = proto.EngineSimulate, proto.Served{Engine: "simulate"}, true
	}
	return list
}

func rejection(manifest, definition, reason string) *proto.Verdict {
	v := verdict(manifest)
	v.Rejections = []proto.Rejection{{Definition: definition, Reason: reason}}
	return v
}

// someVerdicts is a little of everything: layers that repeat, equal shapes, rejections.
func (s store) someVerdicts(definition string) []*proto.Verdict {
	var list []*proto.Verdict
	add := func(layers int, c proto.Candidate) {
		for range layers {
			list = append(list, verdict(fmt.Sprintf("m%03d", len(list)), c))
		}
	}
	add(2, s.candidate(definition, 0, 1, 2))
	add(2, s.candidate(definition, 5, 1, 2))
	add(1, s.candidate(definition, 9, 2, 1))
	add(3, s.candidate(definition, 0, 7, 7, 7, 7))
	add(1, s.candidate(definition, 0, 40))
	add(1, s.candidate(definition, 1, 2, 2, 2, 2, 2, 2, 2, 2))
	list = append(list, rejection("r000", definition, "no_plan"), rejection("r001", definition, "no_plan"), rejection("r002", "", "no_definition"))
	return list
}

// tree reads every file below dir, but for the lock, which says who was last. Directories are there too, with a slash.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case e.IsDir():
			files[rel+"/"] = ""
		case e.Type()&fs.ModeSymlink != 0:
			files[rel], _ = os.Readlink(path)
		case rel != filepath.Join(dataset.Private, "lock"):
			data, err := os.ReadFile(path)
			files[rel] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// public is the tree without our own records.
func public(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := tree(t, dir)
	for name := range files {
		if strings.HasPrefix(name, dataset.Private) {
			delete(files, name)
		}
	}
	return files
}

// memory is a temporary directory in memory where there is one: thousands of syncs take their time on a disk.
func memory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "tracefleet-test-*")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func copyTree(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(memory(t), "dataset")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return to
}

func write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sound fails unless every line refers to blobs that are there, and every blob is referred to.
func sound(t testing.TB, dir string, badLines int) {
	t.Helper()
	rep, err := Inspect(dir, nopLog)
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Orphans) > 0 || len(rep.Problems) > 0 {
		t.Errorf("orphans %v, problems %v", rep.Orphans, rep.Problems)
	}
	for _, d := range rep.Definitions {
		if len(d.Dangling) > 0 || len(d.BadLines) != badLines {
			t.Errorf("%s: dangling %v, bad lines %v (want %d)", d.Name, d.Dangling, d.BadLines, badLines)
		}
	}
	if temps, _ := filepath.Glob(filepath.Join(dir, "*", "*", "*.tmp")); len(temps) > 0 {
		t.Errorf("temporary files left: %v", temps)
	}
}

func mustPublish(t testing.TB, dir string, defs []*fitrace.Definition, verdicts []*proto.Verdict, s store, o LocalOptions) []*Local {
	t.Helper()
	if o.Max == 0 {
		o.Max = 4
	}
	o.Log = nopLog
	results, err := PublishLocal(t.Context(), dir, defs, verdicts, s.get, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Failure != nil {
			t.Fatal(r.Failure)
		}
	}
	return results
}

func lines(t testing.TB, dir, definition string) []fitrace.Line {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, fitrace.WorkloadsPath("gqa_paged", definition)))
	if err != nil {
		t.Fatal(err)
	}
	list, _ := fitrace.ParseLines(bytes.NewReader(data), definition)
	return list
}
