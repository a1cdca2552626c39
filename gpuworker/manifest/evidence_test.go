package manifest

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/proto"
)

func TestEvidence(t *testing.T) {
	t.Parallel()
	run := func(rows, heads int64) *proto.Manifest {
		return &proto.Manifest{
			Call: proto.Call{Function: "XWrapper.run", Signature: "(self, q)",
				Tensors: []proto.Tensor{{Key: "arg_1", DType: "bfloat16", Shape: []int64{rows, heads, 128}}, {Key: "kwarg_n", DType: "int32"}},
				Values: []proto.Value{
					{Key: "arg_0", Type: proto.ValueObject, String: "XWrapper <object>"}, {Key: "kwarg_s", Type: proto.ValueNone},
					{Key: "kwarg_eps", Type: proto.ValueFloat, Float: 0.5}, {Key: "kwarg_inf", Type: proto.ValueFloat, Float: math.Inf(1)},
				}},
			Plan: &proto.Call{Function: "XWrapper.plan", Signature: "(self, indptr, page_size: int, *args, **kwargs)", Tensors: []proto.Tensor{{Key: "arg_1", DType: "int32", Shape: []int64{rows + 1}}}, Values: []proto.Value{
				{Key: "arg_2", Type: proto.ValueInt, Int: 1}, {Key: "arg_3", Type: proto.ValueInt, Int: 9}, {Key: "arg_1__0", Type: proto.ValueInt, Int: 8},
				{Key: "kwarg_causal", Type: proto.ValueBool, Bool: true}, {Key: "kwarg_q_data_type", Type: proto.ValueDType, String: "bfloat16"},
			}},
		}
	}
	var e Evidence
	if data, err := e.JSON(); data != nil || err != nil {
		t.Errorf("of nothing: %s, %v", data, err)
	}
	e.Add(run(8, 32))
	e.Add(run(5, 32)) // another batch of the same
	e.Add(run(8, 16)) // another model
	again := run(8, 16)
	again.Call.Values = append(again.Call.Values, proto.Value{Key: "kwarg_return_lse", Type: proto.ValueBool, Bool: true})
	e.Add(again) // another use
	e.Add(again)
	broken := run(8, 4)
	broken.Defect = &proto.Defect{Reason: proto.DefectNoTraffic}
	e.Add(broken)
	implied := &proto.Manifest{Implied: true, Call: *run(8, 1).Plan}
	implied.Call.Function = "YWrapper.plan"
	e.Add(implied)
	plan := `{"indptr": {"dtype": "int32", "shape": [9]}, "causal": true, "page_size": 1, "q_data_type": "bfloat16"}`
	call := `{"signature": "(self, q)", "arguments": {"arg_1": {"dtype": "bfloat16", "shape": [8, %d, 128]}, "kwarg_n": {"dtype": "int32", "shape": []},
		"kwarg_s": null, "kwarg_eps": {"value": 0.5}}, "plan": ` + plan + `}`
	lse := strings.Replace(call, `{"value": 0.5}`, `{"value": 0.5}, "kwarg_return_lse": {"value": true}`, 1)
	want := fmt.Sprintf(`{"functions": {"XWrapper.run": [`+call+`, `+call+`, `+lse+`], "YWrapper.run": [{"plan": `+plan+`}]}}`, 32, 16, 16)
	data, err := e.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if err := json.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", data, want)
	}
}

// TestEvidence_Bounded: whatever is called, it fits into a message.
func TestEvidence_Bounded(t *testing.T) {
	t.Parallel()
	var e Evidence
	for f := range 2 * evidenceFunctions {
		for n := range int64(2 * evidenceCalls) {
			e.Add(&proto.Manifest{Call: proto.Call{Function: fmt.Sprintf("f%d", f), Tensors: []proto.Tensor{{Key: "arg_0", DType: "int8", Shape: []int64{1, n}}}}})
		}
	}
	var got struct{ Functions map[string][]any }
	data, err := e.JSON()
	if err != nil || json.Unmarshal(data, &got) != nil {
		t.Fatal(err)
	}
	if len(got.Functions) != evidenceFunctions || len(got.Functions["f0"]) != evidenceCalls {
		t.Errorf("%d functions, %d calls of the first", len(got.Functions), len(got.Functions["f0"]))
	}
}
