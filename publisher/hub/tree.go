package hub

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/http"
	"strings"
)

// Entry is a file or a directory at a revision.
type Entry struct {
	Path string
	Dir  bool
	Size int64  // of the content, in bytes
	OID  string // git object id; of a large file, that of its pointer
	LFS  string // SHA-256 of a large file's content, "" for other files
}

// Is reports whether the entry's content is f's.
func (e Entry) Is(f *File) bool {
	if e.LFS != "" {
		return e.LFS == f.SHA256
	}
	return !e.Dir && e.OID == f.GitSHA1
}

type entryJSON struct {
	Type string
	Path string
	Size int64
	OID  string
	LFS  *struct{ OID string }
}

func (j *entryJSON) entry() Entry {
	e := Entry{Path: j.Path, Dir: j.Type == "directory", Size: j.Size, OID: j.OID}
	if j.LFS != nil {
		e.LFS = strings.ToLower(j.LFS.OID)
	}
	return e
}

// Tree lists what is in a directory and below it; dir "" is the repository's root. It ends after an error: status 404 with Code
// EntryNotFound where there is no such directory.
func (r *Repo) Tree(ctx context.Context, rev, dir string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		op := fmt.Sprintf("list %s at %s", cmp.Or(dir, "the repository"), rev)
		pieces := []string{"tree", rev}
		if dir != "" {
			pieces = append(pieces, dir)
		}
		for next := r.api(pieces...) + "?recursive=true&expand=false"; next != ""; {
			var answer []entryJSON
			cl := call{op: op, method: http.MethodGet, url: next, header: map[string]string{"Accept": jsonType}}
			cl.take = func(resp *http.Response) (err error) {
				answer = nil
				if err := decode(resp, &answer, nil); err != nil {
					return err
				}
				next, err = r.c.next(resp.Header)
				return err
			}
			if err := r.c.do(ctx, &cl); err != nil {
				yield(Entry{}, err)
				return
			}
			for i := range answer {
				if !yield(answer[i].entry(), nil) {
					return
				}
			}
		}
	}
}

// pathsBatch is how many paths one request asks about; the Hub refuses more than 1000.
const pathsBatch = 500

// PathsInfo asks what is at paths. Paths at which nothing is are left out.
func (r *Repo) PathsInfo(ctx context.Context, rev string, paths []string) ([]Entry, error) {
	var found []Entry
	for len(paths) > 0 {
		n := min(len(paths), pathsBatch)
		var answer []entryJSON
		cl := call{op: "ask for files at " + rev, method: http.MethodPost, url: r.api("paths-info", rev)}
		if err := r.c.json(ctx, cl, map[string]any{"paths": paths[:n], "expand": false}, &answer); err != nil {
			return nil, err
		}
		for i := range answer {
			found = append(found, answer[i].entry())
		}
		paths = paths[n:]
	}
	return found, nil
}
