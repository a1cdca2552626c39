package bench_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/safetensors"
)

// The synthetic dumps are those of a decode engine as SGLang runs it: one plan a step, one run a layer, the whole KV pool of the
// layer in each run. 500 of them look 10 GB large and hold 3 MB that matters.
const (
	definition   = "gqa_paged_decode_h32_kv8_d128_ps1"
	batch        = 64
	layers       = 4    // runs after each plan
	pages        = 6200 // KV pool in tokens: 25 MB of keys and values a run
	overallocate = 256  // stale indices after the used ones, as SGLang leaves them
	versions     = `{"torch": "2.11.0+cu130", "python": "3.11.7", "flashinfer": "0.7.2.post1"}`
	planArgs     = `(self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor, num_qo_heads: int, ` +
		`num_kv_heads: int, head_dim: int, page_size: int, *deprecated_positional_args: Any, **kwargs: Any) -> None`
	runArgs = `(self, q: torch.Tensor, paged_kv_cache: Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]], *args, ` +
		`q_scale: Optional[float] = None, k_scale: Optional[float] = None, v_scale: Optional[float] = None, ` +
		`out: Optional[torch.Tensor] = None, lse: Optional[torch.Tensor] = None, return_lse: bool = False, ` +
		`enable_pdl: Optional[bool] = None, window_left: Optional[int] = None, sinks: Optional[torch.Tensor] = None) -> ` +
		`Union[torch.Tensor, Tuple[torch.Tensor, torch.Tensor]]`
)

// writeDumps fills dir with count dumps and session.jsonl, and gives their apparent size.
func writeDumps(t *testing.T, dir string, count int) int64 {
	t.Helper()
	w := dumpWriter{t: t, dir: dir, calls: map[string]int{}}
	for step := 0; w.count < count; step++ {
		indptr, indices, last := planOf(step)
		w.dump(planCall, `"arg_4": 32, "arg_5": 8, "arg_6": 128, "arg_7": 1, `+
			`"kwarg_data_type": {"type": "torch.dtype", "value": "torch.bfloat16"}, "kwarg_non_blocking": true`, "", []safetensors.Entry{
			{Name: "arg_1", DType: "I32", Shape: []int64{batch + 1}, Data: indptr},
			{Name: "arg_2", DType: "I32", Shape: []int64{int64(len(indices) / 4)}, Data: indices},
			{Name: "arg_3", DType: "I32", Shape: []int64{batch}, Data: last},
		})
		for range layers {
			if w.count >= count {
				break
			}
			w.dump(runCall, fmt.Sprintf(`"arg_2": {"type": "tuple", "length": 2, "items": [%s, %s], "truncated": false}, `+
				`"kwarg_q_scale": null, "kwarg_k_scale": null, "kwarg_v_scale": null`, item("arg_2__0"), item("arg_2__1")), "result", []safetensors.Entry{
				{Name: "arg_1", DType: "BF16", Shape: []int64{batch, 32, 128}},
				{Name: "arg_2__0", DType: "BF16", Shape: []int64{pages, 8, 128}},
				{Name: "arg_2__1", DType: "BF16", Shape: []int64{pages, 8, 128}},
			})
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "session.jsonl"), w.session.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return w.size
}

// planOf gives the metadata of a decode step: each request one token longer than in the step before, slots scattered.
func planOf(step int) (indptr, indices, last []byte) {
	used := int32(0)
	indptr = binary.LittleEndian.AppendUint32(indptr, 0)
	for request := range int32(batch) {
		length := 30 + request%40 + int32(step%40)
		for i := range length {
			indices = binary.LittleEndian.AppendUint32(indices, uint32(((used+i)*37+int32(step))%pages))
		}
		used += length
		indptr = binary.LittleEndian.AppendUint32(indptr, uint32(used))
		last = binary.LittleEndian.AppendUint32(last, 1)
	}
	for range overallocate {
		indices = binary.LittleEndian.AppendUint32(indices, uint32(pages+step))
	}
	return indptr, indices, last
}

const (
	planCall = "BatchDecodeWithPagedKVCacheWrapper.plan"
	runCall  = "BatchDecodeWithPagedKVCacheWrapper.run"
)

func item(key string) string {
	return fmt.Sprintf(`{"type": "torch.Tensor", "shape": [%d, 8, 128], "dtype": "torch.bfloat16", "stride": [1024, 128, 1], `+
		`"device": "cuda:0", "requires_grad": false, "is_contiguous": true, "tensor_key": "%s"}`, pages, key)
}

type dumpWriter struct {
	t       *testing.T
	dir     string
	count   int
	calls   map[string]int // by function
	session bytes.Buffer
	size    int64
}

// dump writes one directory as FlashInfer does: inputs, a metadata line, (outputs,) a second metadata line.
func (w *dumpWriter) dump(function, values, result string, tensors []safetensors.Entry) {
	w.t.Helper()
	w.calls[function]++
	ms := w.count
	w.count++
	stamp := fmt.Sprintf("20261123_%02d%02d%02d_%03d", 10+ms/3600000, ms/60000%60, ms/1000%60, ms%1000)
	name := fmt.Sprintf("%s_pid4242_%s_call%04d", stamp, function, w.calls[function])
	dir := filepath.Join(w.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := safetensors.WriteSparse(filepath.Join(dir, "inputs.safetensors"), tensors, nil); err != nil {
		w.t.Fatal(err)
	}
	var details, keys []string
	for _, tensor := range tensors {
		keys = append(keys, `"`+tensor.Name+`"`)
		details = append(details, detail(tensor))
		bytes := tensor.DType.Size() / 8
		for _, n := range tensor.Shape {
			bytes *= n
		}
		w.size += bytes
	}
	signature := runArgs
	if function == planCall {
		signature = planArgs
	}
	line := func(status string) string {
		return fmt.Sprintf(`{"function_name": "%s", "module": "flashinfer.decode", "call_sequence": %d, "timestamp": "%s", `+
			`"process_id": 4242, "input_metadata": {"arg_0": {"type": "BatchDecodeWithPagedKVCacheWrapper", "repr": `+
			`"<flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper object at 0x7fe7305f9f10>"}, %s}, "output_metadata": {}, `+
			`"tensor_info": {"input_tensor_keys": [%s], "output_tensor_keys": []}, "tensor_details": {%s}, `+
			`"tensor_format": "safetensors", "function_signature": "%s", "versions": %s, "execution_status": "%s", `+
			`"graph_capture": false, "self_id": 140630925745936, "dump_dir": "%s"}`+"\n",
			function, w.calls[function], stamp, values, strings.Join(keys, ", "), strings.Join(details, ", "), signature, versions, status, dir)
	}
	metadata := line("inputs_saved") + line("completed")
	if err := os.WriteFile(filepath.Join(dir, "metadata.jsonl"), []byte(metadata), 0o644); err != nil {
		w.t.Fatal(err)
	}
	if result != "" {
		out := []safetensors.Entry{{Name: result, DType: "BF16", Shape: []int64{batch, 32, 128}}}
		if err := safetensors.WriteSparse(filepath.Join(dir, "outputs.safetensors"), out, nil); err != nil {
			w.t.Fatal(err)
		}
	}
	w.session.WriteString(metadata)
}

// detail is a tensor's entry in tensor_details, of a contiguous tensor.
func detail(tensor safetensors.Entry) string {
	stride := make([]string, len(tensor.Shape))
	shape := make([]string, len(tensor.Shape))
	step := int64(1)
	for i := len(tensor.Shape) - 1; i >= 0; i-- {
		stride[i], shape[i] = fmt.Sprint(step), fmt.Sprint(tensor.Shape[i])
		step *= tensor.Shape[i]
	}
	return fmt.Sprintf(`"%s": {"shape": [%s], "dtype": "torch.%s", "stride": [%s], "device": "cuda:0"}`,
		tensor.Name, strings.Join(shape, ", "), tensor.DType.Torch(), strings.Join(stride, ", "))
}
