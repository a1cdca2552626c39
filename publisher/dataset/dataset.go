// Package dataset reads and changes a directory in the flashinfer-trace layout:
//
//	definitions/<op_type>/<name>.json
//	workloads/<op_type>/<name>.jsonl                              one line a workload
//	blob/workloads/<op_type>/<name>/<name>_<uuid>.safetensors     the tensors of one workload
//	provenance/<op_type>/<name>.jsonl                             where each workload came from, see [Provenance]
//	.tracefleet/                                                  ours: lock, journal, private records
//
// flashinfer-bench's loader and its validator walk definitions/, workloads/, solutions/ and traces/ only, so provenance/ and
// .tracefleet/ do not disturb them; a .gitignore in the latter keeps it out of commits.
//
// # Flow
//
// [Open] takes the directory's lock and settles what a crash left. A [Change] is everything one publication does to one
// definition, as data; [Writer.Begin] writes down which files it may touch, then come PutDefinition, PutBlobs, CheckBlobs,
// PutProvenance, PutLines and Settle, each idempotent.
//
// # Guarantees
//
// The rename of the workloads file is the commit. Settle, called at the end, after an error and by the next Open, makes the
// rest follow from that file: a blob named in the journal stays if a line refers to it, and is removed if none does; provenance
// and private records have the content from before the change or from after it, which the journal holds both. So there is no
// orphan, no missing line and no dangling reference, whatever was killed when. Every file changes as a whole (atomicfile).
// Lines that do not parse, or are of another definition, stay as they were. Equal changes give equal bytes.
//
// # What it does not do
//
// It does not choose workloads, knows no NATS, and repairs nothing that others broke: [publisher.Inspect] names that. The
// lock is flock(2): between hosts it holds only where the file system carries it, as NFS since version 4 does.
package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
)

// Tensor describes a tensor of a blob.
type Tensor struct {
	Name   string  `json:"name"`
	DType  string  `json:"dtype"` // safetensors name: I32
	Shape  []int64 `json:"shape"`
	Digest string  `json:"digest"` // hex SHA-256 of the raw bytes
}

// Entry is a workload to add.
type Entry struct {
	UUID       string   `json:"uuid"`
	Line       string   `json:"line"`              // JSON, without a newline
	Tensors    []Tensor `json:"tensors,omitempty"` // none: the workload has no blob
	Provenance string   `json:"provenance"`        // JSON, without a newline: a Provenance
	Origin     string   `json:"origin"`            // JSON, without a newline: an Origin
}

// Change is what a publication does to one definition.
type Change struct {
	OpType     string  `json:"op_type"`
	Definition string  `json:"definition"`
	File       []byte  `json:"file"`              // the definition's JSON, copied as it is
	Replace    bool    `json:"replace,omitempty"` // the entries take the place of the definition's lines
	Base       string  `json:"base"`              // hex SHA-256 of the workloads file before; of nothing where there is none
	Result     string  `json:"result"`            // after
	Entries    []Entry `json:"entries"`
}

// ErrChanged means that the workloads file is neither what a change was made for nor what it makes: someone else wrote. Make
// the change anew.
var ErrChanged = errors.New("the dataset changed since the plan was made")

// check keeps every path that a change leads to inside of the dataset.
func (c *Change) check() error {
	if err := fitrace.CheckName("op_type", c.OpType); err != nil {
		return err
	}
	if err := fitrace.CheckName("definition", c.Definition); err != nil {
		return err
	}
	if n := len(c.Definition); n > maxDefinitionName {
		return fmt.Errorf("definition %s has a name of %d characters: with a uuid it is no file name, the limit is %d", c.Definition, n, maxDefinitionName)
	}
	for _, e := range c.Entries {
		if _, err := uuid.Parse(e.UUID); err != nil || len(e.UUID) != 36 {
			return fmt.Errorf("definition %s: %q is not a uuid", c.Definition, e.UUID)
		}
	}
	return nil
}

// maxDefinitionName leaves room for "_<uuid>.safetensors" in the 255 bytes of a file name.
const maxDefinitionName = 255 - 1 - 36 - len(".safetensors")

// digestOf is the identity of a file's content.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// failure converts an error of the file system to a *proto.Failure that names the directory and what to do. A directory that is full or
// read-only stays so until a person changes it, so the failure is not retryable.
func failure(dir string, err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if !strings.Contains(text, dir) {
		text = fmt.Sprintf("dataset %s: %s", dir, text)
	}
	var f *proto.Failure
	switch {
	case errors.As(err, &f), errors.Is(err, ErrChanged):
		return err
	case disk.Full(err):
		return proto.Failf(proto.CodeDiskFull, "%s", text).WithHint("free space, or pass another --trace-dir")
	case disk.ReadOnly(err):
		return proto.Failf(proto.CodeDatasetWrite, "%s", text).WithHint("make the directory writable, or pass another --trace-dir")
	}
	return proto.Failf(proto.CodeDatasetWrite, "%s", text)
}
