package fidump

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// recordLine makes a small whole record with this status and argument metadata.
func recordLine(status, inputs string) string {
	return fmt.Sprintf(`{"function_name": "f", "timestamp": "20261123_000000_000", "input_metadata": {%s}, "execution_status": %q, "dump_dir": "/d/x"}`, inputs, status)
}

func readText(t *testing.T, text string) (*Record, State, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), MetadataFile)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadRecord(path)
}

func TestReadRecord_States(t *testing.T) {
	t.Parallel()
	saved, done := recordLine("inputs_saved", ""), recordLine("completed", "")
	pending := recordLine("graph_capture_pending_flush", "")
	large := recordLine("completed", `"arg_1": "`+strings.Repeat("x", 3*tailBytes)+`"`)
	for _, c := range []struct {
		name, text string
		want       State
	}{
		{"empty", "", Torn},
		{"one newline", "\n", Torn},
		{"first line torn", saved[:40], Torn},
		{"first line whole but for its newline", saved, Torn},
		{"inputs saved", saved + "\n", InputsSaved},
		{"completed", saved + "\n" + done + "\n", Completed},
		{"completed but for the newline", saved + "\n" + done, InputsSaved},
		{"second line torn", saved + "\n" + done[:50], InputsSaved},
		{"second line torn and ended", saved + "\n" + done[:50] + "\n", InputsSaved},
		{"blank lines after", saved + "\n" + done + "\n\n \n", Completed},
		{"captured", pending + "\n" + pending + "\n", GraphPending},
		{"line longer than the first read", saved + "\n" + large + "\n", Completed},
		{"long torn line after", saved + "\n" + large, InputsSaved},
		{"many lines", strings.Repeat(saved+"\n", 2000) + done + "\n", Completed},
		{"status of a later release", recordLine("streaming", "") + "\n", InputsSaved},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec, state, err := readText(t, c.text)
			if err != nil || state != c.want || (rec == nil) != (c.want == Torn) {
				t.Errorf("got %v, %v, %v, want %v", rec, state, err, c.want)
			}
		})
	}
	if rec, state, err := ReadRecord(filepath.Join(t.TempDir(), "no", MetadataFile)); rec != nil || state != Absent || err != nil {
		t.Errorf("missing file: %v, %v, %v", rec, state, err)
	}
}

func TestReadRecord_Garbage(t *testing.T) {
	t.Parallel()
	saved := recordLine("inputs_saved", "") + "\n"
	for _, c := range []struct {
		name, text string
		line       int
		says       string
	}{
		{"not JSON", "hello\n", 1, "an object"},
		{"NULs", strings.Repeat("\x00", 9000) + "\n", 1, "an object"},
		{"a list", "[]\n", 1, "an object"},
		{"no function", `{"execution_status": "completed"}` + "\n", 1, "function_name"},
		{"function is a number", saved + `{"function_name": 1, "execution_status": "completed"}` + "\n", 2, "function_name"},
		{"no status", saved + saved + `{"function_name": "f"}` + "\n", 3, "execution_status"},
		{"negative size", strings.Replace(saved, `"input_metadata": {}`, `"tensor_details": {"arg_1": {"shape": [-1]}}`, 1), 1, "negative"},
		{"stride of another rank", strings.Replace(saved, `"input_metadata": {}`, `"tensor_details": {"arg_1": {"shape": [1], "stride": [1, 1]}}`, 1), 1, "stride"},
		{"nested beyond reason", strings.Repeat(`{"a":`, 200) + "\n", 1, "deeper"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec, state, err := readText(t, c.text)
			var fault *RecordError
			if !errors.As(err, &fault) || rec != nil || fault.Line != c.line || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), MetadataFile) {
				t.Errorf("got %v, %v, %v, want a RecordError for line %d saying %q", rec, state, err, c.line, c.says)
			}
		})
	}
}

func TestReadRecord_RefusesEndlessLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), MetadataFile)
	if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	var fault *RecordError
	if _, _, err := ReadRecord(path); !errors.As(err, &fault) {
		t.Errorf("got %v, want a RecordError", err)
	}
}

func TestParseRecord_EveryKindOfValue(t *testing.T) {
	t.Parallel()
	rec, err := parseRecord(recordLine("inputs_saved", `
		"arg_0": {"type": "W", "repr": "<W at 0x1>"}, "arg_1": null, "arg_2": true, "arg_3": 1, "arg_4": 1.0, "arg_5": -1e-06,
		"arg_6": NaN, "arg_7": -Infinity, "arg_8": 18446744073709551615, "arg_9": "é\ud83d\ude00\"",
		"kwarg_a": {"type": "torch.dtype", "value": "torch.bfloat16"},
		"kwarg_b": {"type": "enum", "name": "Mode.FAST", "value": 2},
		"kwarg_c": {"type": "device", "repr": "cuda:0"},
		"kwarg_d": {"type": "tuple", "length": 2, "items": [
			{"type": "torch.Tensor", "shape": [2, 3], "dtype": "torch.float16", "stride": [1, 2], "device": "cuda:0", "requires_grad": false, "is_contiguous": false, "tensor_key": "kwarg_d__0"},
			{"type": "list", "length": 20, "items": [1, 2.5], "truncated": true}], "truncated": false},
		"kwarg_e": {"type": "dict", "length": 1, "items": [{"key": "k", "value": 7}], "truncated": false},
		"kwarg_f": {"type": "tuple", "length": 3, "truncated": true},
		"kwarg_g": {"type": "enum", "name": "Mode.NAME", "value": "n"}`))
	if err != nil {
		t.Fatal(err)
	}
	no := false
	want := []Value{
		{Key: "arg_0", Kind: KindObject, Type: "W", Text: "<W at 0x1>"},
		{Key: "arg_1", Kind: KindNone},
		{Key: "arg_2", Kind: KindBool, Bool: true},
		{Key: "arg_3", Kind: KindInt, Int: 1},
		{Key: "arg_4", Kind: KindFloat, Float: 1},
		{Key: "arg_5", Kind: KindFloat, Float: -1e-06},
		{Key: "arg_6", Kind: KindFloat, Float: math.NaN()},
		{Key: "arg_7", Kind: KindFloat, Float: math.Inf(-1)},
		{Key: "arg_8", Kind: KindBigInt, Text: "18446744073709551615"},
		{Key: "arg_9", Kind: KindString, Text: "é😀\""},
		{Key: "kwarg_a", Kind: KindDType, Type: "torch.dtype", Text: "bfloat16"},
		{Key: "kwarg_b", Kind: KindEnum, Type: "enum", Text: "Mode.FAST", Items: []Value{{Key: "kwarg_b", Kind: KindInt, Int: 2}}},
		{Key: "kwarg_c", Kind: KindDevice, Type: "device", Text: "cuda:0"},
		{Key: "kwarg_d", Kind: KindTuple, Type: "tuple", Length: 2, Items: []Value{
			{Key: "kwarg_d__0", Kind: KindTensor, Type: "torch.Tensor", Tensor: &Tensor{Key: "kwarg_d__0", DType: "float16", Shape: []int64{2, 3}, Stride: []int64{1, 2}, Contiguous: &no}},
			{Key: "kwarg_d__1", Kind: KindList, Type: "list", Length: 20, Truncated: true, Items: []Value{
				{Key: "kwarg_d__1__0", Kind: KindInt, Int: 1}, {Key: "kwarg_d__1__1", Kind: KindFloat, Float: 2.5}}},
		}},
		{Key: "kwarg_e", Kind: KindDict, Type: "dict", Length: 1, Items: []Value{
			{Key: "kwarg_e__value_0", Kind: KindInt, Int: 7, MapKey: &Value{Key: "kwarg_e__key_0", Kind: KindString, Text: "k"}}}},
		{Key: "kwarg_f", Kind: KindTuple, Type: "tuple", Length: 3, Truncated: true},
		{Key: "kwarg_g", Kind: KindEnum, Type: "enum", Text: "Mode.NAME", Items: []Value{{Key: "kwarg_g", Kind: KindString, Text: "n"}}},
	}
	if len(rec.Input) != len(want) {
		t.Fatalf("%d values, want %d", len(rec.Input), len(want))
	}
	for i := range want {
		got := rec.Input[i]
		if math.IsNaN(want[i].Float) && math.IsNaN(got.Float) {
			got.Float, want[i].Float = 0, 0
		}
		if !reflect.DeepEqual(got, want[i]) {
			t.Errorf("%s: got %+v, want %+v", want[i].Key, got, want[i])
		}
	}
	line := encodeRecord(rec, nil, 0, false)
	again, err := parseRecord(string(line))
	if err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	if second := encodeRecord(again, nil, 0, false); !bytes.Equal(line, second) {
		t.Errorf("written as\n%s\nthen as\n%s", line, second)
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	n, ok := ParseName("/x/20261123_134557_084_pid6158_My_call_Wrapper.plan_call10001")
	want := Name{"20261123_134557_084_pid6158_My_call_Wrapper.plan_call10001", "20261123_134557_084", 6158, "My_call_Wrapper.plan", 10001}
	if !ok || n != want {
		t.Errorf("got %+v, %v", n, ok)
	}
	for _, bad := range []string{
		"", "session.jsonl", "20261123_134557_084", "20261123_134557_084_pid_f_call0001", "20261123_134557_084_pid1_call0001",
		"20261123_134557_084_pid1_f_call", "20261123_134557_084_pid1_f_callx", "20261123-134557-084_pid1_f_call0001",
		"2026112a_134557_084_pid1_f_call0001", "20261123_134557_084_pid99999999999999999999_f_call0001", "graph_flushes",
	} {
		if n, ok := ParseName(bad); ok {
			t.Errorf("%q gave %+v", bad, n)
		}
	}
}

func TestList_DumpsOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"20261123_000000_001_pid2_f_call0002", "20261123_000000_001_pid2_f_call0001", "20261123_000000_000_pid3_g_call0001", "other"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "20261123_000000_000_pid1_f_call0001"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	names, err := List(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, n := range names {
		got += fmt.Sprintf("%d.%d ", n.PID, n.Sequence)
	}
	if got != "3.1 2.1 2.2 " {
		t.Errorf("got %s", got)
	}
	if _, err := List(filepath.Join(dir, "gone")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing directory: %v", err)
	}
}

// FuzzReadRecord: no panic, and what is accepted means the same when it is written again.
func FuzzReadRecord(f *testing.F) {
	f.Add([]byte(recordLine("inputs_saved", `"arg_1": 1, "arg_2": NaN`) + "\n" + recordLine("completed", `"kwarg_x": {"type": "dict", "length": 1, "items": [{"key": 1, "value": [1.5]}]}`) + "\n"))
	f.Add([]byte(strings.Replace(recordLine("completed", `"arg_2": {"type": "tuple", "length": 1, "items": [{"type": "torch.Tensor", "tensor_key": "arg_2__0", "is_contiguous": true, "shape": [2]}], "truncated": false}`),
		`"input_metadata"`, `"tensor_info": {"input_tensor_keys": ["arg_2__0"]}, "tensor_details": {"arg_2__0": {"shape": [2], "dtype": "torch.int32", "stride": [1], "device": "cpu"}}, "input_metadata"`, 1) + "\n{\"fun"))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, state, err := lastRecord(bytes.NewReader(data), int64(len(data)), MetadataFile, make([]byte, 64))
		if (rec == nil) != (state == Torn) || err != nil && rec != nil {
			t.Fatalf("got %v, %v, %v", rec, state, err)
		}
		if rec == nil {
			return
		}
		line := encodeRecord(rec, nil, 0, false)
		again, err := parseRecord(string(line))
		if err != nil {
			t.Fatalf("accepted, but not when written again: %v in %s", err, line)
		}
		if second := encodeRecord(again, nil, 0, false); !bytes.Equal(line, second) {
			t.Errorf("written as\n%s\nthen as\n%s", line, second)
		}
	})
}
