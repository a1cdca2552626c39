package golden_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// realDefinitions are those the second reader converted for; the last must stay empty: the paged runs there are halves.
var realDefinitions = []string{
	"gqa_paged_decode_h32_kv8_d128_ps1",
	"gqa_ragged_prefill_causal_h32_kv8_d128",
	"gqa_paged_prefill_causal_h32_kv8_d128_ps1",
}

// readerLimit is where the second reader stopped in each definition; below it, it found all there is.
const readerLimit = 20

// entry is a workload as both readers can be compared: tensors by dtype, shape and content.
type entry struct {
	Definition string           `json:"definition"`
	Axes       map[string]int64 `json:"axes"`
	Inputs     map[string]input `json:"inputs"`
}

type input struct {
	Type   string   `json:"type"`
	Value  *float64 `json:"value,omitempty"`
	DType  string   `json:"dtype,omitempty"`
	Shape  []int64  `json:"shape,omitempty"`
	SHA256 string   `json:"sha256,omitempty"`
}

// key says all that both readers must agree on. The second reader's num_pages is the pool's; ours may be the smallest that
// holds the indices, so it is left out here and bounded in compare.
func (e entry) key() string {
	parts := []string{e.Definition}
	for name, value := range e.Axes {
		if name != "num_pages" {
			parts = append(parts, fmt.Sprintf("axis %s=%d", name, value))
		}
	}
	for name, in := range e.Inputs {
		value := ""
		if in.Value != nil {
			// Six digits: the value may be computed from the head dimension in another order.
			value = strconv.FormatFloat(*in.Value, 'e', 6, 64)
		}
		parts = append(parts, fmt.Sprintf("input %s=%s %s%s%v %s", name, in.Type, value, in.DType, in.Shape, in.SHA256))
	}
	slices.Sort(parts[1:])
	return strings.Join(parts, "\n  ")
}

func TestReal_Sanitize(t *testing.T) {
	t.Parallel()
	eachRun(t, func(t *testing.T, dumpDir, dataset string) result {
		return tracefleet(t, append([]string{"sanitize", "--dump-dir", dumpDir, "--flashinfer-trace-dir", dataset,
			"--max-new-workloads", "1000", "--definitions"}, realDefinitions...)...)
	})
}

func TestReal_CollectReplay(t *testing.T) {
	t.Parallel()
	eachRun(t, func(t *testing.T, dumpDir, dataset string) result {
		return replay(t, dumpDir, dataset, "1000", realDefinitions)
	})
}

// eachRun converts the dumps of each real engine run and compares with the second reader.
func eachRun(t *testing.T, convert func(t *testing.T, dumpDir, dataset string) result) {
	corpus := goldentest.Dir(t)
	for _, name := range []string{"a", "c"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dumps := goldentest.RealDumps(t, name)
			dataset := outDir(t, t.Name())
			copyDefinitions(t, filepath.Join(corpus, "definitions"), dataset, realDefinitions)
			got := convert(t, dumps, dataset)
			if got.code != 0 {
				t.Errorf("exit code %d\n%s%s", got.code, got.stderr, got.stdout)
			}
			compare(t, secondReader(t, goldentest.Shared(t, "golden-real", name+".second-reader.jsonl")), readDataset(t, dataset))
		})
	}
}

// compare wants everything the second reader found among ours, and nothing else where it found all there is.
func compare(t *testing.T, theirs, ours []entry) {
	t.Helper()
	have, counts := map[string]entry{}, map[string]int{}
	for _, e := range ours {
		if _, twice := have[e.key()]; twice {
			t.Errorf("twice in ours: %s", e.key())
		}
		have[e.key()] = e
	}
	found := 0
	for _, e := range theirs {
		counts[e.Definition]++
		mine, ok := have[e.key()]
		if !ok {
			t.Errorf("only the second reader has %s", e.key())
			continue
		}
		found++
		if pool, mine := e.Axes["num_pages"], mine.Axes["num_pages"]; mine > pool || (pool > 0) != (mine > 0) {
			t.Errorf("num_pages is %d in a pool of %d: %s", mine, pool, e.key())
		}
		delete(have, e.key())
	}
	more := map[string]int{}
	for key, e := range have {
		more[e.Definition]++
		if counts[e.Definition] < readerLimit {
			t.Errorf("the second reader left out %s", key)
		}
	}
	t.Logf("%d of the second reader's %d found; beyond its limit of %d a definition ours has %v more", found, len(theirs), readerLimit, more)
}

func secondReader(t *testing.T, path string) []entry {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for i, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s:%d: %v", path, i+1, err)
		}
		entries = append(entries, e)
	}
	return entries
}

// readDataset reads our lines with the content of their blobs.
func readDataset(t *testing.T, dataset string) []entry {
	t.Helper()
	var entries []entry
	for name, text := range workloads(t, dataset) {
		for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
			var w struct {
				Definition string `json:"definition"`
				Workload   struct {
					Axes   map[string]int64           `json:"axes"`
					Inputs map[string]json.RawMessage `json:"inputs"`
				} `json:"workload"`
			}
			if err := json.Unmarshal([]byte(line), &w); err != nil {
				t.Fatalf("%s:%d: %v", name, i+1, err)
			}
			e := entry{Definition: w.Definition, Axes: w.Workload.Axes, Inputs: map[string]input{}}
			for key, raw := range w.Workload.Inputs {
				e.Inputs[key] = readInput(t, dataset, raw)
			}
			entries = append(entries, e)
		}
	}
	return entries
}

func readInput(t *testing.T, dataset string, raw json.RawMessage) input {
	t.Helper()
	var in struct {
		input
		Path string `json:"path"`
		Key  string `json:"tensor_key"`
	}
	if err := json.Unmarshal(raw, &in); err != nil {
		t.Fatal(err)
	}
	if in.Type != "safetensors" {
		return in.input
	}
	blob, err := safetensors.Open(filepath.Join(dataset, filepath.FromSlash(in.Path)))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	info := blob.Header().Find(in.Key)
	if info == nil {
		t.Fatalf("%s has no tensor %s", in.Path, in.Key)
	}
	data, err := blob.Read(in.Key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(data)
	in.DType, in.Shape, in.SHA256 = info.DType.Torch(), info.Shape, hex.EncodeToString(sum[:])
	return in.input
}
