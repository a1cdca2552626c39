package hub

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

func TestPathsInfo_Batches(t *testing.T) {
	t.Parallel()
	seed := map[string][]byte{}
	var paths []string
	for i := range 600 {
		path := fmt.Sprintf("d/%d.json", i)
		paths = append(paths, path, path+".none")
		seed[path] = nil
	}
	b := setup(t, hubtest.Options{Seed: seed}, Options{})
	got, err := b.repo.PathsInfo(t.Context(), "main", append(paths, "d"))
	if err != nil || len(got) != 601 || !got[600].Dir || b.hub.Count(hubtest.PathsInfo) != 3 {
		t.Errorf("%d entries in %d requests, %v", len(got), b.hub.Count(hubtest.PathsInfo), err)
	}
}

func TestPreupload(t *testing.T) {
	t.Parallel()
	old := text("workloads/gqa/d.jsonl", 2)
	b := setup(t, hubtest.Options{Seed: seeded(old, blob(1, 100))}, Options{})
	grown := text(old.Path, 3)
	binary := FileOf("solutions/x.bin2", append([]byte{0}, bytes.Repeat([]byte("x"), 200_000)...))
	empty := FileOf("e.safetensors", nil)
	p, err := b.repo.Preupload(t.Context(), "main", []File{grown, blob(1, 100), blob(2, 100), binary, empty})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Mode{
		grown.Path: {OID: old.GitSHA1}, blob(1, 0).Path: {LFS: true, OID: blob(1, 100).SHA256}, blob(2, 0).Path: {LFS: true},
		binary.Path: {LFS: true}, empty.Path: {},
	} {
		if p.Modes[path] != want {
			t.Errorf("%s: %+v, want %+v", path, p.Modes[path], want)
		}
	}
	if p.Head != b.hub.Head("main") {
		t.Errorf("head %s", p.Head)
	}
	if p, err := b.repo.Preupload(t.Context(), "main", nil); err != nil || p.Head != b.hub.Head("main") {
		t.Errorf("of no files: %+v, %v", p, err)
	}
}

// TestPreupload_OneHead: what is said of many files is of one commit, though others commit meanwhile.
func TestPreupload_OneHead(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{Retries: 2})
	pushes := 0
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(r) == hubtest.Preupload && pushes < b.hub.Count(hubtest.Preupload)/2 && pushes < 2 {
			pushes++
			if _, err := b.hub.Push("main", "other", "in between", map[string][]byte{"f": {byte(pushes)}}); err != nil {
				t.Error(err)
			}
		}
		return hubtest.Action{}
	})
	p, err := b.repo.Preupload(t.Context(), "main", texts(1200))
	if err != nil || p.Head != b.hub.Head("main") || len(p.Modes) != 1200 {
		t.Errorf("%s with %d modes, %v; want %s", p.Head, len(p.Modes), err, b.hub.Head("main"))
	}
	b.hub.Fault(func(*http.Request, int) hubtest.Action {
		pushes++
		_, err := b.hub.Push("main", "other", "in between", map[string][]byte{"f": {byte(pushes)}})
		if err != nil {
			t.Error(err)
		}
		return hubtest.Action{}
	})
	_, err = b.repo.Preupload(t.Context(), "main", texts(1200))
	if e := asError(t, err); !e.Conflict {
		t.Errorf("%+v", e)
	}
}

// TestPreupload_LessAtATime: a Hub that takes less at a time than its schema says is asked in smaller pieces.
func TestPreupload_LessAtATime(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	b.hub.Fault(hubtest.Times(2, hubtest.Preupload, hubtest.Action{Status: http.StatusRequestEntityTooLarge}))
	p, err := b.repo.Preupload(t.Context(), "main", texts(40))
	if n := b.hub.Count(hubtest.Preupload); err != nil || len(p.Modes) != 40 || n != 6 {
		t.Errorf("%d modes in %d requests, %v; want 40 in 6", len(p.Modes), n, err)
	}
	b.hub.Fault(hubtest.Once(hubtest.Preupload, hubtest.Action{Status: http.StatusRequestEntityTooLarge}))
	_, err = b.repo.Preupload(t.Context(), "main", texts(1))
	if e := asError(t, err); e.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("%+v", e)
	}
}

func TestPreupload_AnswersThatMakeNoSense(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	for body, want := range map[string]string{
		`{"commitOid":"x","files":[]}`: "has nothing of solutions/s0000.json",
		`{"commitOid":"x","files":[{"path":"solutions/s0000.json","uploadMode":"warp"}]}`: `"warp"`,
		`{"files":[{"path":"solutions/s0000.json","uploadMode":"regular"}]}`:              "does not name the head",
		`<html>`: "not what was asked for",
	} {
		b.hub.Fault(hubtest.Once(hubtest.Preupload, hubtest.Action{Status: 200, Body: body}))
		if _, err := b.repo.Preupload(context.Background(), "main", texts(1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
