package simulate

import (
	"encoding/json"
	"strconv"
)

// version is what simulated dumps say made them; it changes when equal jobs give other tensors than before.
const version = "1"

// versionsJSON is written into every record, so that a simulated dump says so wherever it is taken.
const versionsJSON = `{"torch": "simulated", "python": "simulated", "flashinfer": "0.7.2.post1+simulated", "tracefleet-simulate": "` + version + `"}`

// versions is the same for results.
func versions() map[string]string {
	var m map[string]string
	if err := json.Unmarshal([]byte(versionsJSON), &m); err != nil {
		panic(err) // a constant of this file
	}
	return m
}

// identity is what a record says of where its call was made.
type identity struct {
	rank     int
	pid      int
	self     int64  // id of the wrapper object; 0: a plain function
	sequence int    // number among the dumps of this function in this process
	time     string // YYYYmmdd_HHMMSS_mmm
	dir      string // the dump directory
}

// record writes a metadata line as FlashInfer's json.dumps does: same keys, same order, same spacing.
func (c *call) record(id identity, completed bool) []byte {
	b := make([]byte, 0, 4096)
	field := func(key string) { b = append(append(append(b, `, "`...), key...), `": `...) }

	b = append(b, `{"function_name": `...)
	b = quote(b, c.fn.name)
	field("module")
	b = quote(b, c.fn.module)
	field("call_sequence")
	b = strconv.AppendInt(b, int64(id.sequence), 10)
	field("timestamp")
	b = quote(b, id.time)
	field("process_id")
	b = strconv.AppendInt(b, int64(id.pid), 10)
	field("input_metadata")
	b = c.appendInputs(b, id)
	field("output_metadata")
	if completed && len(c.results) == 0 {
		b = append(b, `{"result": null}`...)
	} else {
		b = append(b, `{}`...)
	}
	field("tensor_info")
	b = c.appendInfo(b, completed)
	field("tensor_details")
	b = c.appendDetails(b, completed)
	field("tensor_format")
	b = append(b, `"safetensors"`...)
	field("function_signature")
	b = quote(b, c.fn.signature)
	field("versions")
	b = append(b, versionsJSON...)
	field("execution_status")
	if completed {
		b = append(b, `"completed"`...)
	} else {
		b = append(b, `"inputs_saved"`...)
	}
	field("graph_capture")
	b = append(b, no...)
	if id.self != 0 {
		field("self_id")
		b = strconv.AppendInt(b, id.self, 10)
	}
	field("dump_dir")
	b = quote(b, id.dir)
	return append(b, "}\n"...)
}

// appendInputs writes what is not a plain tensor argument: the wrapper, values, and tuples with the tensors in them.
func (c *call) appendInputs(b []byte, id identity) []byte {
	b = append(b, '{')
	first := len(b)
	key := func(k string) {
		if len(b) > first {
			b = append(b, ", "...)
		}
		b = append(quote(b, k), ": "...)
	}
	if id.self != 0 {
		class := c.fn.class()
		key("arg_0")
		b = append(b, `{"type": `...)
		b = append(quote(b, class), `, "repr": `...)
		b = append(quote(b, "<"+c.fn.module+"."+class+" object at 0x"+strconv.FormatInt(id.self, 16)+">"), '}')
	}
	for _, a := range c.args {
		switch {
		case a.tensor != nil:
			continue
		case a.tuple != nil:
			key(a.key)
			b = appendTuple(b, a.tuple)
		case a.rank != nil:
			key(a.key)
			b = append(b, a.rank(id.rank)...)
		default:
			key(a.key)
			b = append(b, a.value...)
		}
	}
	return append(b, '}')
}

func appendTuple(b []byte, list []tensor) []byte {
	b = append(b, `{"type": "tuple", "length": `...)
	b = append(strconv.AppendInt(b, int64(len(list)), 10), `, "items": [`...)
	for i := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, `{"type": "torch.Tensor", `...)
		b = list[i].appendShape(b, "cuda:0")
		b = append(b, `, "requires_grad": false, "is_contiguous": true, "tensor_key": `...)
		b = append(quote(b, list[i].key), '}')
	}
	return append(b, `], "truncated": false}`...)
}

func (c *call) appendInfo(b []byte, completed bool) []byte {
	in, out := c.inputs(), c.results
	if !completed {
		out = nil
	}
	size := func(list []tensor) (n int64) {
		for i := range list {
			n += list[i].bytes()
		}
		return n
	}
	sizes := func(name string, n int64) {
		b = append(append(append(b, `, "`...), name...), `_bytes": `...)
		b = strconv.AppendInt(b, n, 10)
		b = append(append(append(b, `, "`...), name...), `_mb": `...)
		b = append(b, decimal(float64(n)/(1<<20))...)
	}
	b = append(b, `{"input_tensor_keys": `...)
	b = appendKeys(b, in)
	b = append(b, `, "output_tensor_keys": `...)
	b = appendKeys(b, out)
	sizes("input_size", size(in))
	if completed {
		sizes("output_size", size(out))
		sizes("total_size", size(in)+size(out))
	}
	return append(b, '}')
}

func appendKeys(b []byte, list []tensor) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = quote(b, list[i].key)
	}
	return append(b, ']')
}

func (c *call) appendDetails(b []byte, completed bool) []byte {
	list := c.inputs()
	if completed {
		list = append(list, c.results...)
	}
	b = append(b, '{')
	for i := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(quote(b, list[i].key), ": {"...)
		b = append(list[i].appendShape(b, "cpu"), '}') // the logger describes its copy
	}
	return append(b, '}')
}

// appendShape writes shape, dtype, stride and device, without braces.
func (t *tensor) appendShape(b []byte, device string) []byte {
	stride := t.stride
	if stride == nil {
		stride = make([]int64, len(t.shape))
		n := int64(1)
		for i := len(t.shape) - 1; i >= 0; i-- {
			stride[i] = n
			n *= max(t.shape[i], 1)
		}
	}
	b = append(b, `"shape": `...)
	b = appendInts(b, t.shape)
	b = append(append(append(b, `, "dtype": "torch.`...), t.dtype.Torch()...), `", "stride": `...)
	b = appendInts(b, stride)
	b = append(b, `, "device": `...)
	return quote(b, device)
}

func appendInts(b []byte, list []int64) []byte {
	b = append(b, '[')
	for i, n := range list {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// quote appends a JSON string. Everything written here is ASCII but for the dump directory, which keeps its UTF-8.
func quote(b []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= 0x7f {
			plain = false
			break
		}
	}
	if plain {
		return append(append(append(b, '"'), s...), '"')
	}
	text, _ := json.Marshal(s) // a string always marshals
	return append(b, text...)
}
