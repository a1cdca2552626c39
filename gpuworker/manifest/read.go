package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/proto"
)

// MaxTensorBytes is the largest integer tensor whose content is read. Structure (indices, lengths, page tables) stays far
// below; what is above are weights packed into bytes, of which a description is enough.
const MaxTensorBytes = 64 << 20

// maxRepr bounds what is kept of an object's repr: enough to see what it was.
const maxRepr = 512

// Read reads the dump name in root, or its graph replay number flush where that is not 0. It always gives a Dump: what is
// wrong with it is its Defect. Safe for parallel use.
func Read(root string, name fidump.Name, flush int) *Dump {
	base := filepath.Join(root, name.Dir)
	dir := fidump.FlushDir(base, flush)
	d := &Dump{Call: proto.Call{
		Dump: name.Dir, Flush: flush, Function: name.Function, Sequence: name.Sequence, Timestamp: name.Time, PID: name.PID,
		Capture: flush > 0,
	}}
	defer func() {
		if d.Defect != nil { // a manifest says the same wherever the dumps lie
			d.Defect.Detail = name.Dir + ": " + strings.ReplaceAll(strings.ReplaceAll(d.Defect.Detail, base+"/", ""), base, ".")
		}
	}()
	rec, state, err := fidump.ReadRecord(filepath.Join(dir, fidump.MetadataFile))
	d.measure(dir)
	switch {
	case err != nil:
		d.spoil(defectOf(err), err.Error())
	case state == fidump.Absent:
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			d.spoil(proto.DefectVanished, "the dump directory is gone")
		} else {
			d.spoil(proto.DefectIncomplete, "there is no metadata.jsonl: the writer stopped before it had written the inputs")
		}
	case state == fidump.Torn:
		d.spoil(proto.DefectIncomplete, "metadata.jsonl has no complete record: the writer stopped within the first")
	}
	if d.Defect != nil {
		return d
	}
	d.adopt(rec)
	if flush == 0 && rec.GraphCapture {
		d.Role = Capture
		return d
	}
	if isPlan(d.Call.Function) {
		d.Role = Plan
		// The call raised, or its process died in it. Which plan the object has now is not known.
		if state != fidump.Completed && flush == 0 {
			d.spoil(proto.DefectIncomplete, "metadata.jsonl: the plan was begun (inputs_saved) and never completed")
			return d
		}
	}
	if err := d.readTensors(dir, rec); err != nil {
		d.spoil(defectOf(err), err.Error())
	}
	return d
}

// defectOf sorts an error of reading into the reasons of a defect.
func defectOf(err error) string {
	var system *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return proto.DefectIncomplete
	case errors.As(err, &system):
		return proto.DefectUnreadable
	}
	return proto.DefectCorrupt
}

func (d *Dump) spoil(reason, detail string) {
	d.Defect = &proto.Defect{Reason: reason, Detail: detail}
	d.Call.Tensors, d.Tensors = nil, nil
	d.Role = Run
}

// adopt takes over what the record says.
func (d *Dump) adopt(rec *fidump.Record) {
	c := &d.Call
	c.Function, c.Module, c.Signature, c.Status = rec.FunctionName, rec.Module, rec.Signature, rec.Status
	c.Capture = c.Capture || rec.GraphCapture
	if rec.Timestamp != "" {
		c.Timestamp = rec.Timestamp
	}
	d.Versions = rec.Versions
	c.SelfID = rec.SelfID
	if self := rec.Arg("arg_0"); c.SelfID == "" && self != nil && self.Kind == fidump.KindObject {
		c.SelfID = self.Text
	}
	c.Values = make([]proto.Value, 0, len(rec.Input))
	for i := range rec.Input {
		d.flatten(&rec.Input[i])
	}
}

// flatten adds v's members, or v itself where it has none, to the call's values.
func (d *Dump) flatten(v *fidump.Value) {
	out := proto.Value{Key: v.Key}
	switch v.Kind {
	case fidump.KindTuple, fidump.KindList, fidump.KindDict:
		for i := range v.Items {
			d.flatten(&v.Items[i])
		}
		return
	case fidump.KindTensor:
		return
	case fidump.KindNone:
		out.Type = proto.ValueNone
	case fidump.KindBool:
		out.Type, out.Bool = proto.ValueBool, v.Bool
	case fidump.KindInt:
		out.Type, out.Int = proto.ValueInt, v.Int
	case fidump.KindFloat:
		out.Type, out.Float = proto.ValueFloat, v.Float
	case fidump.KindString:
		out.Type, out.String = proto.ValueString, v.Text
	case fidump.KindDType:
		out.Type, out.String = proto.ValueDType, v.Text
	case fidump.KindEnum:
		out = enumValue(v)
	default:
		out.Type = proto.ValueObject
		out.String = clip(strings.TrimSpace(v.Type + " " + v.Text))
		if v.Key != "arg_0" && strings.Contains(v.Text, "tensor(") {
			d.Unlogged = true
		}
	}
	d.Call.Values = append(d.Call.Values, out)
}

// enumValue gives a member of an enum its plain value, since that is what a kernel takes, and keeps its name beside it.
func enumValue(v *fidump.Value) proto.Value {
	out := proto.Value{Key: v.Key, Type: proto.ValueObject, String: clip(v.Text)}
	if len(v.Items) != 1 {
		return out
	}
	switch of := &v.Items[0]; of.Kind {
	case fidump.KindInt:
		out.Type, out.Int = proto.ValueInt, of.Int
	case fidump.KindString:
		out.Type, out.String = proto.ValueString, of.Text
	}
	return out
}

func clip(s string) string {
	if len(s) > maxRepr {
		return strings.ToValidUTF8(s[:maxRepr], "") + "…"
	}
	return s
}

// bounds reports whether a float tensor holds bounds of a sampler, one a request: what a call with others does is another thing.
func bounds(function string, t *fidump.Tensor) bool {
	return strings.Contains(function, "sampling_from_probs") && len(t.Shape) == 1 && t.Nbytes <= proto.InlineTensorBytes
}

// readTensors describes every input tensor and reads the content of the integer ones, and of a sampler's bounds.
func (d *Dump) readTensors(dir string, rec *fidump.Record) (err error) {
	in, err := fidump.OpenInputs(dir, rec)
	if err != nil {
		return err
	}
	defer func() {
		d.BytesRead += in.BytesRead()
		err = errors.Join(err, in.Close())
	}()
	list := in.Tensors()
	d.Call.Tensors = make([]proto.Tensor, len(list))
	for i := range list {
		from, to := &list[i], &d.Call.Tensors[i]
		*to = proto.Tensor{Key: from.Key, DType: from.DType, Shape: from.Shape, Stride: from.Stride, Contiguous: from.Contiguous}
		if dtype, ok := safetensors.FromTorch(from.DType); !ok || !dtype.Integer() && !bounds(d.Call.Function, from) || from.Nbytes > MaxTensorBytes {
			continue
		}
		data, err := in.Read(from.Key)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", from.Key, err)
		}
		sum := sha256.Sum256(data)
		to.Digest = hex.EncodeToString(sum[:])
		if len(data) <= proto.InlineTensorBytes {
			to.Inline = data
			continue
		}
		if d.Tensors == nil {
			d.Tensors = make(map[string][]byte, 1)
		}
		d.Tensors[to.Digest] = data
	}
	return nil
}

// Files of a dump, as FlashInfer names them: of each pair one is there at most.
var files = [...][2]string{
	{fidump.MetadataFile, ""}, {"inputs.safetensors", "inputs.pt"}, {"outputs.safetensors", "outputs.pt"},
}

// measure notes the sizes of the dump's files.
func (d *Dump) measure(dir string) {
	d.BytesSeen, d.BytesDisk = Measure(dir)
	d.BytesRead = min(d.BytesSeen, 16<<10)
}

// Measure sums up the files of the dump or replay in dir: their sizes, and the blocks that they take, which is less where
// they are sparse. It asks for each file by name: a listing would cost more.
func Measure(dir string) (size, disk int64) {
	var st unix.Stat_t
	path := make([]byte, 0, len(dir)+24)
	for _, pair := range files {
		for _, name := range pair {
			path = append(append(append(path[:0], dir...), '/'), name...)
			if name == "" || unix.Lstat(string(path), &st) != nil {
				continue
			}
			size += st.Size
			disk += st.Blocks * 512
			break
		}
	}
	return size, disk
}
