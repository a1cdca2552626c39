package coordinator

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
)

func TestValidate_SizesOutOfBounds_NameFlagAndReason(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*Request)
		words  []string
	}{
		"batch size":             {func(r *Request) { r.BatchSizes = []int{8, 99999999999} }, []string{"--batch-sizes", "99999999999", "at most 65536", "no server"}},
		"batch size of all bits": {func(r *Request) { r.BatchSizes = []int{math.MaxInt} }, []string{"--batch-sizes", "at most"}},
		"too many batch sizes":   {func(r *Request) { r.BatchSizes = make([]int, 2000) }, []string{"--batch-sizes", "2000 values", "engine lifetime"}},
		"batches":                {func(r *Request) { r.NumBatches = math.MaxInt }, []string{"--num-batches", "at most 16777216"}},
		"samples":                {func(r *Request) { r.Requests = 1 << 40 }, []string{"--num-samples", "1099511627776"}},
		"isl":                    {func(r *Request) { r.ISL = 1 << 30 }, []string{"--isl", "1073741824", "context"}},
		"osl":                    {func(r *Request) { r.OSL = math.MaxInt }, []string{"--osl", "context"}},
		"dumps":                  {func(r *Request) { r.DumpCount = 1 << 40 }, []string{"--dump-count", "directory"}},
		"workloads":              {func(r *Request) { r.WorkloadsPerBatch = 1 << 40 }, []string{"--workloads-per-batch"}},
		"pool":                   {func(r *Request) { r.PoolTokens = 1 << 31 }, []string{"--pool-tokens", "2147483648", "32 bits"}},
		"layers":                 {func(r *Request) { r.Layers = 5000 }, []string{"--layers", "5000"}},
		"page":                   {func(r *Request) { r.PageSize = 5000 }, []string{"--page-size", "5000"}},
		"tp":                     {func(r *Request) { r.TP = 5000 }, []string{"--tp", "5000"}},
		"ep":                     {func(r *Request) { r.EP = 5000 }, []string{"--ep", "5000"}},
		"block":                  {func(r *Request) { r.Dataset, r.TracePath, r.TraceBlock = "trace", "t", -1 }, []string{"--trace-block-size", "-1"}},
		"block without a trace":  {func(r *Request) { r.TraceBlock = 16 }, []string{"--trace-block-size", "16", "random"}},
		"trace speed":            {func(r *Request) { r.Dataset, r.TracePath, r.TraceSpeed = "trace", "t", 1e7 }, []string{"--trace-speed", "1e+07", "1e+06"}},
		"requests":               {func(r *Request) { r.BatchSizes, r.NumBatches = []int{4096}, 8192 }, []string{"--batch-sizes 4096", "--num-batches 8192", "33554432 requests"}},
		"tokens in flight":       {func(r *Request) { r.BatchSizes, r.ISL = []int{65536}, 40000 }, []string{"--batch-sizes 65536", "--isl 40000", "--osl 1024", "KV pool"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := DefaultRequest()
			tc.change(&r)
			err := r.Validate()
			require.Error(t, err)
			for _, w := range tc.words {
				require.ErrorContains(t, err, w)
			}
		})
	}
	r := DefaultRequest() // at the bounds
	r.BatchSizes, r.NumBatches, r.ISL, r.OSL, r.TP, r.PageSize, r.Layers = []int{65536}, 256, 16384, 16383, 1024, 4096, 1024
	require.NoError(t, r.Validate())
	r.Requests, r.NumBatches = 5, 1<<24 // not used with --num-samples
	require.NoError(t, r.Validate())
}

func TestResolve_NamesDifferingInCase_AreRefused(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put := func(opType, name string) {
		dir := filepath.Join(root, "definitions", opType)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		text := strings.NewReplacer("NAME", name, "OP", opType).Replace(`{"name": "NAME", "op_type": "OP", "axes": {"n": {"type": "var"}}, "inputs": {"x": {"shape": ["n"], "dtype": "float32"}},
			"outputs": {"y": {"shape": ["n"], "dtype": "float32"}}, "reference": "def run(x):\n    return x\n"}`)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o644))
	}
	put("norm", "norm_h128")
	put("other", "x")
	if _, err := os.Stat(filepath.Join(root, "definitions", "NORM")); err == nil {
		t.Skip("the file system does not distinguish case")
	}
	all := Selection{All: true}
	_, _, err := Resolve(root, all)
	require.NoError(t, err)
	refused := func(sel Selection, words ...string) {
		t.Helper()
		_, _, err := Resolve(root, sel)
		require.Equal(t, proto.CodeBadDefinition, proto.AsFailure(err, proto.CodeInternal).Code, "%v", err)
		for _, w := range words {
			require.ErrorContains(t, err, w)
		}
	}
	put("norm", "norm_H128")
	both := []string{"norm_H128", "norm_h128", filepath.Join("norm", "norm_H128.json"), filepath.Join("norm", "norm_h128.json"), "only in case"}
	refused(all, both...)
	refused(Selection{OpTypes: []string{"norm"}}, both...)
	refused(Selection{Names: []string{"norm_h128"}}, both...)
	_, _, err = Resolve(root, Selection{Names: []string{"x"}})
	require.NoError(t, err, "others are not concerned")
	require.NoError(t, os.Remove(filepath.Join(root, "definitions", "norm", "norm_H128.json")))
	put("Other", "norm_H128") // in another op type
	refused(Selection{Names: []string{"norm_h128"}}, "norm_H128", "norm_h128")
	refused(Selection{Names: []string{"x"}}, "op types", "Other", "other")
}

// TestCollection_DefaultBlockSize_IsTheSameCollection: written or not, so that it resumes.
func TestCollection_DefaultBlockSize_IsTheSameCollection(t *testing.T) {
	t.Parallel()
	id := func(block int) string {
		r := DefaultRequest()
		r.Dataset, r.TracePath, r.TraceBlock = "trace", "/data/t.jsonl", block
		c, err := r.collection(proto.EngineSpec{Kind: proto.EngineSimulate}, nil)
		require.NoError(t, err)
		return c.ID
	}
	require.Equal(t, id(0), id(512))
	require.NotEqual(t, id(0), id(16))
}
