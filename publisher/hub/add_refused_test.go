package hub

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

func TestAdd_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{Seed: map[string][]byte{".gitignore": []byte("*.log\n/private/\n!keep.log\n")}}, Options{})
	pr := b.pr()
	bad := text("a.json", 1)
	bad.SHA256 = "x"
	for _, c := range []struct {
		name string
		add  Add
		want string
	}{
		{"no summary", Add{Files: texts(1)}, "summary"},
		{"twice the same path", Add{Summary: "s", Files: append(texts(1), texts(1)...)}, "comes twice"},
		{"kept out", Add{Summary: "s", Files: []File{text("a/b.log", 1)}}, ".gitignore"},
		{"kept out with its directory", Add{Summary: "s", Files: []File{text("private/x.json", 1)}}, ".gitignore"},
		{"outside", Add{Summary: "s", Files: []File{text("a/../../b", 1)}}, `".."`},
		{"absolute", Add{Summary: "s", Files: []File{text("/a", 1)}}, `""`},
		{"git's own", Add{Summary: "s", Files: []File{text("a/.git/config", 1)}}, `".git"`},
		{"the client's own", Add{Summary: "s", Files: []File{text(".cache/a", 1)}}, `".cache"`},
		{"backslash", Add{Summary: "s", Files: []File{text(`a\b`, 1)}}, "backslash"},
		{"no UTF-8", Add{Summary: "s", Files: []File{text("a\xff", 1)}}, "UTF-8"},
		{"too long", Add{Summary: "s", Files: []File{text(strings.Repeat("a", 1001), 1)}}, "1 to 1000"},
		{"no digest", Add{Summary: "s", Files: []File{bad}}, "FileOf"},
	} {
		if _, err := b.repo.Add(t.Context(), pr.Ref(), c.add); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %s", c.name, err, c.want)
		}
	}
	if n := b.hub.Count(hubtest.MakeCommit) + b.hub.Count(hubtest.LFSBatch); n != 0 {
		t.Errorf("%d requests that write", n)
	}
	if _, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "s", Files: []File{text("keep.log", 1)}}); err != nil {
		t.Errorf("what .gitignore lets in: %v", err)
	}
}

// changing is a file whose content changes when it is opened for the given time, from 1.
func changing(path string, data, later []byte, at int) File {
	f := FileOf(path, data)
	var mu sync.Mutex
	n := 0
	f.Open = func() (io.ReadCloser, error) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n >= at {
			return io.NopCloser(bytes.NewReader(later)), nil
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return f
}

// TestAdd_FileChanged: a file that changes after its digest was taken is in no commit and not in storage.
func TestAdd_FileChanged(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("abcdefg\n"), 40_000)
	other := bytes.Clone(data)
	other[len(other)-1] = 'x'
	for _, path := range []string{"a.json", "a.safetensors"} {
		for name, later := range map[string][]byte{"other": other, "shorter": data[:len(data)-9], "longer": append(bytes.Clone(data), 'x'), "empty": nil} {
			b := setup(t, hubtest.Options{}, Options{})
			pr := b.pr()
			before := b.hub.Head(pr.Ref())
			_, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "s", Files: append(texts(2), changing(path, data, later, 2))})
			if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), path) || len(b.slept) > 0 {
				t.Errorf("%s becomes %s: %v; waited %v", path, name, err, b.slept)
			}
			if b.hub.Head(pr.Ref()) != before || b.hub.Count(hubtest.LFSVerify) != 0 {
				t.Errorf("%s becomes %s: something was committed", path, name)
			}
		}
	}
	b := setup(t, hubtest.Options{}, Options{})
	if _, err := b.repo.Preupload(t.Context(), "main", []File{changing("a.json", data, data[:5], 1)}); !errors.Is(err, ErrChanged) {
		t.Errorf("before it is sent: %v", err)
	}
	if _, err := b.repo.Add(t.Context(), b.pr().Ref(), Add{Summary: "s", Files: []File{changing("a", nil, []byte("x"), 2)}}); !errors.Is(err, ErrChanged) {
		t.Errorf("an empty file that is not: %v", err)
	}
}

func TestAdd_ClosedPR(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	if err := b.hub.ClosePR(pr.Num); err != nil {
		t.Fatal(err)
	}
	_, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "s", Files: texts(1)})
	if e := asError(t, err); e.Status != http.StatusForbidden || e.Retryable {
		t.Errorf("%+v", e)
	}
}

// TestAdd_StorageForgot: storage says that it has an object, and the commit finds that it has not.
func TestAdd_StorageForgot(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	pr := b.pr()
	f := blob(1, 1000)
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(r) == hubtest.MakeCommit {
			if err := b.hub.Forget(f.SHA256); err != nil {
				t.Error(err)
			}
		}
		return hubtest.Action{}
	})
	_, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "s", Files: []File{f}})
	if e := asError(t, err); e.Status != 400 || !strings.Contains(e.Message, "pointer") || e.Lost {
		t.Errorf("%+v", e)
	}
	b.hub.Fault(nil)
	if _, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "s", Files: []File{f}}); err != nil {
		t.Errorf("the second time: %v", err)
	}
	b.check(pr.Ref(), f)
}
