package hub

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

func TestUpload_EachContentOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{Verify: true}, Options{})
	files := []File{blob(1, 5000), blob(2, 6000)}
	twin := files[0]
	twin.Path = "blob/workloads/gqa/d/twin.safetensors"
	up, err := b.repo.Upload(t.Context(), append(files, twin))
	if err != nil || up != (Uploaded{Sent: 2, Bytes: files[0].Size + files[1].Size}) {
		t.Errorf("%+v, %v", up, err)
	}
	up, err = b.repo.Upload(t.Context(), append(files, twin, blob(3, 70)))
	if err != nil || up != (Uploaded{Sent: 1, Already: 2, Bytes: blob(3, 70).Size}) {
		t.Errorf("the second time: %+v, %v", up, err)
	}
	if n := b.hub.Received(files[0].SHA256); n != files[0].Size {
		t.Errorf("%d bytes came of %d", n, files[0].Size)
	}
}

// TestUpload_Batches: storage is asked about 256 objects at a time.
func TestUpload_Batches(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	var files []File
	for i := range 600 {
		files = append(files, blob(i, 30))
	}
	if up, err := b.repo.Upload(t.Context(), files); err != nil || up.Sent != 600 {
		t.Errorf("%+v, %v", up, err)
	}
	if n := b.hub.Count(hubtest.LFSBatch); n != 3 {
		t.Errorf("%d batches, want 3", n)
	}
}

func TestUpload_Troubles(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		o     hubtest.Options
		fault func(*http.Request, int) hubtest.Action
	}{
		{"cut within the body", hubtest.Options{}, hubtest.Once(hubtest.PutObject, hubtest.Action{CutBody: 1000})},
		{"cut after the effect", hubtest.Options{}, hubtest.Once(hubtest.PutObject, hubtest.Action{When: hubtest.After, Cut: true})},
		{"500", hubtest.Options{}, hubtest.Times(5, hubtest.PutObject, hubtest.Action{Status: 500})},
		{"too slow for storage", hubtest.Options{}, hubtest.Once(hubtest.PutObject, hubtest.Action{
			Status: 400, Body: "<Error><Code>RequestTimeout</Code><Message>Your socket connection was not read from or written to</Message></Error>",
		})},
		{"expired", hubtest.Options{}, hubtest.Times(3, hubtest.PutObject, hubtest.Action{
			Status: 403, Body: "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
		})},
		{"the batch fails", hubtest.Options{}, hubtest.Once(hubtest.LFSBatch, hubtest.Action{Status: 503})},
		{"the verification fails", hubtest.Options{Verify: true}, hubtest.Once(hubtest.LFSVerify, hubtest.Action{When: hubtest.After, Cut: true})},
		{"a part is cut", hubtest.Options{ChunkSize: 4000}, hubtest.Once(hubtest.PutPart, hubtest.Action{CutBody: 1000})},
		{"a part's receipt is lost", hubtest.Options{ChunkSize: 4000}, hubtest.Once(hubtest.PutPart, hubtest.Action{When: hubtest.After, Cut: true})},
		{"the parts expire", hubtest.Options{ChunkSize: 4000}, hubtest.Once(hubtest.PutPart, hubtest.Action{Status: 403})},
		{"the completion fails", hubtest.Options{ChunkSize: 4000}, hubtest.Once(hubtest.LFSComplete, hubtest.Action{Status: 502})},
		{"the completion's answer is lost", hubtest.Options{ChunkSize: 4000, Verify: true}, hubtest.Once(hubtest.LFSComplete, hubtest.Action{When: hubtest.After, Cut: true})},
	} {
		b := setup(t, c.o, Options{})
		b.hub.Fault(c.fault)
		pr := b.pr()
		files := []File{blob(1, 9000), blob(2, 9500), blob(3, 3000)}
		if _, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "s", Files: files}); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		b.check(pr.Ref(), files...)
	}
}

// TestUpload_SignsAgain: what was signed for a whole batch expires while its first objects are sent.
func TestUpload_SignsAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{Parallel: 1})
	var once sync.Once
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(r) == hubtest.PutObject && b.hub.Count(hubtest.PutObject) == 2 {
			once.Do(b.hub.ExpireURLs)
		}
		return hubtest.Action{}
	})
	if up, err := b.repo.Upload(t.Context(), []File{blob(1, 50), blob(2, 60), blob(3, 70)}); err != nil || up.Sent != 3 {
		t.Errorf("%+v, %v", up, err)
	}
}

func TestUpload_RefusedObject(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{Lenient: true}, Options{})
	f := blob(1, 50)
	f.Size = 0
	_, err := b.repo.Upload(t.Context(), []File{f})
	if e := asError(t, err); e.Status != 422 || !strings.Contains(e.Message, f.Path) {
		t.Errorf("%+v", e)
	}
	b.hub.Fault(hubtest.Once(hubtest.LFSBatch, hubtest.Action{Status: 200, Body: `{"objects":[]}`}))
	if _, err := b.repo.Upload(t.Context(), []File{blob(1, 50)}); err == nil || !strings.Contains(err.Error(), blob(1, 50).Path) {
		t.Errorf("an answer without the object: %v", err)
	}
}

// noPart8 refuses the eighth part of a file.
func noPart8(r *http.Request, _ int) hubtest.Action {
	if hubtest.KindOf(r) == hubtest.PutPart && strings.HasSuffix(r.URL.Path, "/8") {
		return hubtest.Action{Status: 500}
	}
	return hubtest.Action{}
}

// TestMultipart_Resumes: a second Upload sends only the parts that the first one did not.
func TestMultipart_Resumes(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{ChunkSize: 1000}, Options{Parallel: 1, Retries: 1})
	f := blob(1, 10_000)
	b.hub.Fault(noPart8)
	if _, err := b.repo.Upload(t.Context(), []File{f}); err == nil {
		t.Fatal("no error")
	}
	if n := b.hub.Received(f.SHA256); n != 7000 {
		t.Fatalf("%d bytes came, want those of 7 parts", n)
	}
	b.hub.Fault(nil)
	b.hub.ExpireURLs()
	up, err := b.repo.Upload(t.Context(), []File{f})
	if err != nil || up.Sent != 1 {
		t.Fatalf("%+v, %v", up, err)
	}
	if n := b.hub.Received(f.SHA256); n != f.Size {
		t.Errorf("%d bytes came in all, want %d", n, f.Size)
	}
	if len(b.repo.parts) != 0 {
		t.Errorf("%d uploads are kept", len(b.repo.parts))
	}
}

// A process that comes after one that was killed goes on with its upload, by the receipts that it left; what is left of another upload, or cannot
// be read, is worth nothing.
func TestMultipart_ResumesElsewhere(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		spoil func(t *testing.T, file string)
		sent  int64 // in all, of 10,000 bytes in parts of 1,000 of which 7 were sent
	}{
		"as it was left": {func(*testing.T, string) {}, 10_000},
		"garbage": {func(t *testing.T, file string) {
			if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
				t.Error(err)
			}
		}, 17_000},
		"of another upload": {func(t *testing.T, file string) {
			data, err := os.ReadFile(file)
			if err == nil {
				err = os.WriteFile(file, bytes.Replace(data, []byte(`"upload":"`), []byte(`"upload":"0`), 1), 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		}, 17_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "uploads")
			b := setup(t, hubtest.Options{ChunkSize: 1000}, Options{Parallel: 1, Retries: 1, Receipts: dir})
			f := blob(1, 10_000)
			b.hub.Fault(noPart8)
			if _, err := b.repo.Upload(t.Context(), []File{f}); err == nil {
				t.Fatal("no error")
			}
			b.hub.Fault(nil)
			file := filepath.Join(dir, f.SHA256+".json")
			data, err := os.ReadFile(file)
			if err != nil || bytes.Contains(data, []byte("http")) {
				t.Fatalf("%s, %v: an address is as good as a token", data, err)
			}
			test.spoil(t, file)
			next, err := New(Options{Endpoint: b.hub.URL, Token: b.hub.Token, Parallel: 1, Receipts: dir})
			if err != nil {
				t.Fatal(err)
			}
			repo, err := next.Dataset(b.repo.ID())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := repo.Upload(t.Context(), []File{f}); err != nil {
				t.Fatal(err)
			}
			if n := b.hub.Received(f.SHA256); n < test.sent || n > test.sent+100 { // some bytes of what was refused may have come
				t.Errorf("%d bytes came in all, want %d", n, test.sent)
			}
			if _, err := os.Stat(file); err == nil {
				t.Error("the receipts are still there")
			}
		})
	}
}

// TestMultipart_StartsAnew: the parts of an upload that storage has forgotten are worth nothing.
func TestMultipart_StartsAnew(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{ChunkSize: 1000}, Options{Parallel: 1})
	f := blob(1, 3000)
	var once sync.Once
	b.hub.Fault(func(r *http.Request, _ int) hubtest.Action {
		if hubtest.KindOf(r) == hubtest.LFSComplete {
			once.Do(b.hub.ForgetUploads)
		}
		return hubtest.Action{}
	})
	if up, err := b.repo.Upload(t.Context(), []File{f}); err != nil || up.Sent != 1 {
		t.Fatalf("%+v, %v", up, err)
	}
	if n := b.hub.Received(f.SHA256); n != 2*f.Size {
		t.Errorf("%d bytes came, want all twice", n)
	}
}

func TestMultipart_FileChanged(t *testing.T) {
	t.Parallel()
	data := bytes.Repeat([]byte("abc"), 2000)
	other := bytes.Clone(data)
	other[10] = 'x'
	for name, later := range map[string][]byte{"other": other, "shorter": data[:2500], "empty": nil} {
		for at := 1; at <= 4; at++ {
			b := setup(t, hubtest.Options{ChunkSize: 2500}, Options{Parallel: 1})
			if _, err := b.repo.Upload(t.Context(), []File{changing("a.safetensors", data, later, at)}); !errors.Is(err, ErrChanged) {
				t.Errorf("%s from the %d. opening: %v", name, at, err)
			}
			if b.hub.Count(hubtest.LFSComplete) != 0 {
				t.Errorf("%s from the %d. opening: it was completed", name, at)
			}
		}
	}
}

// TestMultipart_FileChangedForAMoment: a part was read while the file was another, and then it was the same again.
func TestMultipart_FileChangedForAMoment(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{ChunkSize: 2500}, Options{Parallel: 1})
	data := bytes.Repeat([]byte("abc"), 2000)
	f := FileOf("a.safetensors", data)
	opened := 0
	f.Open = func() (io.ReadCloser, error) {
		if opened++; opened == 2 {
			return io.NopCloser(bytes.NewReader(bytes.ToUpper(data))), nil
		}
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	if _, err := b.repo.Upload(t.Context(), []File{f}); !errors.Is(err, ErrChanged) || b.hub.Count(hubtest.LFSComplete) != 0 {
		t.Errorf("%v", err)
	}
	if up, err := b.repo.Upload(t.Context(), []File{f}); err != nil || up.Sent != 1 {
		t.Errorf("once it is the same for good: %+v, %v", up, err)
	}
}

func TestPartURLs(t *testing.T) {
	t.Parallel()
	urls, err := partURLs(map[string]string{"chunk_size": "10", "00001": "a", "2": "b"}, 2)
	if err != nil || urls[1] != "a" || urls[2] != "b" {
		t.Errorf("%v, %v", urls, err)
	}
	for _, header := range []map[string]string{{"1": "a"}, {"1": "a", "3": "c"}, {"1": "a", "2": "b", "3": "c"}, {"1": "a", "2": ""}} {
		if _, err := partURLs(header, 2); err == nil {
			t.Errorf("%v is taken for 2 parts", header)
		}
	}
}

func TestFileAt(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := FileAt("dir/f", name)
	if err != nil {
		t.Fatal(err)
	}
	// By git hash-object and sha256sum.
	if f.Path != "dir/f" || f.Size != 6 || f.GitSHA1 != "ce013625030ba8dba906f756967f9e9ca394464a" ||
		f.SHA256 != "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03" {
		t.Errorf("%+v", f)
	}
	for range 2 {
		if got := contentOf(t, f); string(got) != "hello\n" {
			t.Errorf("content is %q", got)
		}
	}
	if of := FileOf("dir/f", []byte("hello\n")); of.SHA256 != f.SHA256 || of.GitSHA1 != f.GitSHA1 || of.Size != f.Size {
		t.Errorf("of bytes: %+v", of)
	}
	if empty := FileOf("e", nil); empty.GitSHA1 != "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" {
		t.Errorf("of nothing: %+v", empty)
	}
	if _, err := fileFrom("f", 5, f.Open); !errors.Is(err, ErrChanged) {
		t.Errorf("a file that grows while it is read: %v", err)
	}
	for _, bad := range []string{name + "x", filepath.Dir(name)} {
		if _, err := FileAt("f", bad); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestSection: a part of a content that cannot seek is found by reading up to it.
func TestSection(t *testing.T) {
	t.Parallel()
	f := FileOf("f", []byte("0123456789"))
	plain := f
	plain.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("0123456789")), nil }
	for name, f := range map[string]File{"seeking": f, "reading": plain} {
		rc, err := f.section(4, 3)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rc)
		if err != nil || string(data) != "456" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
		rc.Close()
	}
}
