package dataset

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/proto"
)

// A journal that names files elsewhere removes nothing: it is refused.
func TestOpen_HostileJournal(t *testing.T) {
	t.Parallel()
	for name, j := range map[string]journal{
		"a blob of another definition": {OpType: "op", Definition: "def", Blobs: []string{"blob/workloads/op/other/x.safetensors"}},
		"a blob outside":               {OpType: "op", Definition: "def", Blobs: []string{"blob/workloads/op/def/../../../../victim"}},
		"a directory outside":          {OpType: "op", Definition: "def", NewDirs: []string{"../elsewhere"}},
		"a record elsewhere":           {OpType: "op", Definition: "def", Records: []record{{File: "workloads/op/other.jsonl", After: "x"}}},
		"an op type that is a path":    {OpType: "../op", Definition: "def"},
		"a definition that is a path":  {OpType: "op", Definition: "a/b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			dir := filepath.Join(root, "dataset")
			for _, file := range []string{"victim", "elsewhere/file", "dataset/blob/workloads/op/other/x.safetensors"} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(root, file), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, Private), 0o755); err != nil {
				t.Fatal(err)
			}
			data, _ := json.Marshal(j)
			if err := os.WriteFile(filepath.Join(dir, journalFile), data, 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, Options{Log: zerolog.Nop()})
			if f := proto.AsFailure(err, proto.CodeInternal); f.Code != proto.CodeDatasetWrite || f.Hint == "" {
				t.Errorf("opened, or failed with %v", err)
			}
			for _, file := range []string{"victim", "elsewhere/file", "dataset/blob/workloads/op/other/x.safetensors"} {
				if _, err := os.Stat(filepath.Join(root, file)); err != nil {
					t.Error(err)
				}
			}
			if err := os.Remove(filepath.Join(dir, journalFile)); err != nil { // as the hint says
				t.Fatal(err)
			}
			w, err := Open(dir, Options{Log: zerolog.Nop()})
			if err != nil {
				t.Fatalf("the lock was not given back: %v", err)
			}
			_ = w.Close()
		})
	}
}

func TestChange_Names(t *testing.T) {
	t.Parallel()
	const id = "11111111-2222-5333-8444-555555555555"
	for _, tc := range []struct{ opType, definition, uuid string }{
		{"..", "def", id}, {"op/../..", "def", id}, {"", "def", id}, {"op", "../def", id}, {"op", "a\x00b", id},
		{"op", strings.Repeat("d", maxDefinitionName+1), id}, {"op", "def", "../" + id[3:]}, {"op", "def", ""}, {"op", "def", "{" + id + "}"},
	} {
		c := Change{OpType: tc.opType, Definition: tc.definition, Entries: []Entry{{UUID: tc.uuid}}}
		if err := c.Seal(&Workloads{}); err == nil {
			t.Errorf("%q %q %q passed", tc.opType, tc.definition, tc.uuid)
		}
	}
	c := Change{OpType: "op", Definition: strings.Repeat("d", maxDefinitionName), Entries: []Entry{{UUID: id}}}
	if err := c.Seal(&Workloads{}); err != nil {
		t.Error(err)
	}
}

func TestBlobFile(t *testing.T) {
	t.Parallel()
	for ref, want := range map[string]string{
		"./blob/workloads/op/def/x.safetensors": "blob/workloads/op/def/x.safetensors", "blob/x": "blob/x", "./blob/a/../x": "blob/x",
		"../x": "", "/etc/passwd": "", "./../../x": "", "": "", ".": "", `blob\x`: "", "blob/x\x00": "",
	} {
		if got, err := BlobFile(ref); got != want || (err == nil) != (want != "") {
			t.Errorf("%q gives %q, %v", ref, got, err)
		}
	}
}
