package hub

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

const (
	// preuploadBatch is how many files one request asks about: as many as the Hub's schema allows.
	preuploadBatch = 1000
	sampleSize     = 512
)

// Preupload is what the Hub says of files before they are sent.
type Preupload struct {
	Head  string          // commit of the revision, to which everything here refers, 40 hex digits
	Modes map[string]Mode // by path, one for each file asked about
}

// Mode is how a file must be sent.
type Mode struct {
	LFS    bool   // to storage, by its SHA-256; otherwise within the commit
	Ignore bool   // the repository's .gitignore keeps it out
	OID    string // of what is at that path now: a git blob id, or the SHA-256 of a large file; "" where nothing is
}

// Preupload asks how files must be sent, and what is at their paths at rev. Nothing is written by it. The answers to all files
// are of one commit.
func (r *Repo) Preupload(ctx context.Context, rev string, files []File) (Preupload, error) {
	if err := checkFiles(files); err != nil {
		return Preupload{}, err
	}
	for try := 0; ; try++ {
		p, moved, err := r.preupload(ctx, rev, files)
		if err != nil || !moved {
			return p, err
		}
		if try >= r.c.o.Retries {
			return p, &Error{
				Op: "ask how to send files", Method: http.MethodPost, URL: r.api("preupload", rev),
				Conflict: true, Message: rev + " moves while it is read",
			}
		}
	}
}

// preupload reports moved where the branch has moved between two requests.
func (r *Repo) preupload(ctx context.Context, rev string, files []File) (p Preupload, moved bool, err error) {
	p.Modes = make(map[string]Mode, len(files))
	most := preuploadBatch
	for len(files) > 0 || p.Head == "" {
		n := min(len(files), most)
		head, err := r.preuploadSome(ctx, rev, files[:n], p.Modes)
		var e *Error
		if errors.As(err, &e) && e.Status == http.StatusRequestEntityTooLarge && n > 1 {
			most = n / 2
			continue
		}
		if err != nil {
			return Preupload{}, false, err
		}
		if p.Head != "" && head != p.Head {
			return Preupload{}, true, nil
		}
		p.Head, files = head, files[n:]
	}
	return p, false, nil
}

// preuploadSome asks about as many files as one request takes, and gives the revision's commit.
func (r *Repo) preuploadSome(ctx context.Context, rev string, files []File, modes map[string]Mode) (string, error) {
	type asked struct {
		Path   string `json:"path"`
		Sample string `json:"sample"`
		Size   int64  `json:"size"`
	}
	send := struct {
		Files []asked `json:"files"`
	}{Files: make([]asked, 0, len(files))}
	for i := range files {
		sample, err := files[i].sample()
		if err != nil {
			return "", fmt.Errorf("%s: %w", files[i].Path, err)
		}
		send.Files = append(send.Files, asked{files[i].Path, base64.StdEncoding.EncodeToString(sample), files[i].Size})
	}
	var answer struct {
		CommitOID string
		Files     []struct {
			Path         string
			UploadMode   string
			ShouldIgnore bool
			OID          string
		}
	}
	cl := call{op: "ask how to send files", method: http.MethodPost, url: r.api("preupload", rev)}
	if !strings.HasPrefix(rev, "refs/pr/") {
		cl.url += "?create_pr=1" // who may not write to a branch may ask about it for a pull request
	}
	if err := r.c.json(ctx, cl, send, &answer); err != nil {
		return "", err
	}
	for _, f := range answer.Files {
		if f.UploadMode != "lfs" && f.UploadMode != "regular" {
			return "", fmt.Errorf("%s: %s: the Hub wants it sent as %q, which is not known here; look for a newer tracefleet", cl.op, f.Path, f.UploadMode)
		}
		modes[f.Path] = Mode{LFS: f.UploadMode == "lfs", Ignore: f.ShouldIgnore, OID: strings.ToLower(f.OID)}
	}
	for i := range files {
		m, ok := modes[files[i].Path]
		if !ok {
			return "", fmt.Errorf("%s: the Hub's answer has nothing of %s", cl.op, files[i].Path)
		}
		if files[i].Size == 0 && m.LFS { // storage takes no empty objects
			m.LFS = false
			modes[files[i].Path] = m
		}
	}
	if answer.CommitOID == "" {
		return "", fmt.Errorf("%s: the Hub's answer does not name the head of %s", cl.op, rev)
	}
	return answer.CommitOID, nil
}
