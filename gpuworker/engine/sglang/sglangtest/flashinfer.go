package sglangtest

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fidump"
)

// LoggerEnv names a shell command that logs in the stand-in's place: test/interop/logger_process.py, which has FlashInfer's own logger. Its
// last argument is the FlashInfer release. Taken by Python.
const LoggerEnv = "TRACEFLEET_FLASHINFER_LOGGER"

// flashinfer is a process that makes calls under FlashInfer's own logger: a call a line on its standard input, an answer a line on
// its standard output once the call returned.
type flashinfer struct {
	in  io.Writer
	out *bufio.Scanner
}

func startFlashInfer(command, release string) (*flashinfer, error) {
	cmd := exec.Command("sh", "-c", "exec "+command+" "+release)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe() // it ends with this process
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l := &flashinfer{in: in, out: bufio.NewScanner(out)}
	return l, l.answer("the import") // which takes seconds, before anything is timed
}

func (l *flashinfer) answer(to string) error {
	if !l.out.Scan() {
		return fmt.Errorf("FlashInfer's logger is gone at %s", to)
	}
	return nil
}

// log has a call made. Tensors get the contents they have here, floats zeros.
func (l *flashinfer) log(c fidump.Call, results []fidump.Value) error {
	call := struct {
		Function  string      `json:"function"`
		Module    string      `json:"module"`
		Signature string      `json:"signature"`
		Self      int64       `json:"self"`
		Args      [][2]string `json:"args"`
		Result    string      `json:"result"`
	}{Function: c.Function, Module: c.Module, Signature: c.Signature, Self: c.SelfID, Result: "None"}
	for _, a := range c.Args {
		call.Args = append(call.Args, [2]string{a.Key, python(a)})
	}
	if len(results) > 0 {
		call.Result = python(results[0])
	}
	data, err := json.Marshal(call)
	if err != nil {
		return err
	}
	if _, err := l.in.Write(append(data, '\n')); err != nil {
		return err
	}
	return l.answer(c.Function)
}

// python gives a value as an expression.
func python(v fidump.Value) string {
	switch v.Kind {
	case fidump.KindNone:
		return "None"
	case fidump.KindBool:
		return map[bool]string{true: "True", false: "False"}[v.Bool]
	case fidump.KindInt:
		return strconv.FormatInt(v.Int, 10)
	case fidump.KindFloat:
		return strconv.FormatFloat(v.Float, 'e', -1, 64)
	case fidump.KindString:
		return strconv.Quote(v.Text)
	case fidump.KindDType:
		return "torch." + v.Text
	case fidump.KindTensor:
		return pythonTensor(v)
	case fidump.KindTuple:
		var list strings.Builder
		for _, item := range v.Items {
			list.WriteString(python(item) + ",")
		}
		return "(" + list.String() + ")"
	default:
		return "self"
	}
}

func pythonTensor(v fidump.Value) string {
	dtype := "torch." + v.Tensor.DType
	if v.Data == nil {
		return fmt.Sprintf("torch.zeros(%s, dtype=%s)", pythonList(v.Tensor.Shape), dtype)
	}
	var list []int64 // nothing but int32 has contents
	for data := v.Data; len(data) > 0; data = data[4:] {
		list = append(list, int64(int32(binary.LittleEndian.Uint32(data))))
	}
	return fmt.Sprintf("torch.tensor(%s, dtype=%s)", pythonList(list), dtype)
}

func pythonList(list []int64) string {
	data, _ := json.Marshal(list) // of integers: the same in both languages
	return string(data)
}
