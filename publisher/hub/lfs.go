package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"
)

const (
	lfsType = "application/vnd.git-lfs+json"
	// lfsBatch is how many objects one request asks about.
	lfsBatch = 256
)

// Uploaded counts large files, each content once.
type Uploaded struct {
	Sent    int   // to storage
	Already int   // in storage before
	Bytes   int64 // of the contents sent
}

func (u *Uploaded) add(o Uploaded) {
	u.Sent += o.Sent
	u.Already += o.Already
	u.Bytes += o.Bytes
}

type object struct {
	OID  string `json:"oid"`
	Size int64  `json:"size"`
}

// action is what storage wants of us: where to send something.
type action struct {
	Href   string
	Header map[string]string // of a multipart upload: chunk_size, and a URL for each part's number
}

type granted struct {
	object
	Actions *struct {
		Upload *action
		Verify *action
	}
	Error *struct {
		Code    int
		Message string
	}
}

// Upload sends the contents of files to storage, in parallel, where storage does not have them. They are in no commit by that.
// The Hub decides how each file must be sent: give only those whose Mode says LFS.
func (r *Repo) Upload(ctx context.Context, files []File) (Uploaded, error) {
	if err := checkFiles(files); err != nil {
		return Uploaded{}, err
	}
	var done Uploaded
	byOID := map[string]*File{}
	var order []*File
	for i := range files {
		f := &files[i]
		if byOID[f.SHA256] == nil {
			byOID[f.SHA256] = f
			order = append(order, f)
		}
	}
	// Each batch is asked for just before it is sent: what storage signs is valid for a while only.
	for len(order) > 0 {
		n := min(len(order), lfsBatch)
		some, err := r.uploadSome(ctx, order[:n])
		done.add(some)
		if err != nil {
			return done, err
		}
		order = order[n:]
	}
	return done, nil
}

func (r *Repo) uploadSome(ctx context.Context, files []*File) (Uploaded, error) {
	grants, err := r.batch(ctx, files)
	if err != nil {
		return Uploaded{}, err
	}
	var mu sync.Mutex
	var done Uploaded
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.c.o.Parallel)
	for _, f := range files {
		g := grants[f.SHA256]
		group.Go(func() error {
			sent, err := r.upload(ctx, f, g)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				return err
			case sent:
				done.Sent++
				done.Bytes += f.Size
			default:
				done.Already++
			}
			return nil
		})
	}
	err = group.Wait()
	return done, err
}

// batch asks storage where to send files. It names no ref: with one the Hub asks for a right to write that who opens a pull
// request may not have.
func (r *Repo) batch(ctx context.Context, files []*File) (map[string]*granted, error) {
	send := struct {
		Operation string   `json:"operation"`
		Transfers []string `json:"transfers"`
		HashAlgo  string   `json:"hash_algo"`
		Objects   []object `json:"objects"`
	}{Operation: "upload", Transfers: []string{"basic", "multipart"}, HashAlgo: "sha256"}
	for _, f := range files {
		send.Objects = append(send.Objects, object{f.SHA256, f.Size})
	}
	var answer struct{ Objects []*granted }
	cl := call{
		op: "ask where to send large files", method: http.MethodPost, url: r.c.url("datasets", r.id+".git", "info/lfs/objects/batch"),
		header: map[string]string{"Accept": lfsType, "Content-Type": lfsType},
	}
	if err := r.c.json(ctx, cl, send, &answer); err != nil {
		return nil, err
	}
	grants := make(map[string]*granted, len(answer.Objects))
	for _, g := range answer.Objects {
		grants[g.OID] = g
	}
	for _, f := range files {
		g := grants[f.SHA256]
		if g == nil {
			return nil, fmt.Errorf("%s: the answer has nothing of %s (%s)", cl.op, f.Path, f.SHA256)
		}
		if g.Error != nil {
			return nil, &Error{
				Op: cl.op, Method: cl.method, URL: cl.url, Status: g.Error.Code,
				Message: fmt.Sprintf("%s (%s): %s", f.Path, f.SHA256, r.c.redact(g.Error.Message)),
			}
		}
	}
	return grants, nil
}

// upload sends one content, and reports false where storage had it. What was signed may expire before it is used: storage then
// says 403, and the Hub signs anew. So it does where a multipart upload is not known any more, or was completed meanwhile (404).
func (r *Repo) upload(ctx context.Context, f *File, g *granted) (sent bool, err error) {
	for try := 0; ; try++ {
		if g.Actions == nil || g.Actions.Upload == nil {
			return try > 0, nil
		}
		err := r.send(ctx, f, g)
		var e *Error
		if err == nil || !errors.As(err, &e) || (e.Status != http.StatusForbidden && e.Status != http.StatusNotFound) || try >= r.c.o.Retries {
			return true, err
		}
		r.c.o.Log.Info().Str("path", f.Path).Msg("storage refuses what the Hub signed; it is asked to sign again")
		grants, err := r.batch(ctx, []*File{f})
		if err != nil {
			return true, err
		}
		g = grants[f.SHA256]
	}
}

func (r *Repo) send(ctx context.Context, f *File, g *granted) error {
	up := g.Actions.Upload
	var err error
	if _, ok := up.Header["chunk_size"]; ok {
		err = r.sendParts(ctx, f, up)
	} else {
		err = r.sendWhole(ctx, f, up)
	}
	if err != nil || g.Actions.Verify == nil {
		return err
	}
	return r.c.json(ctx, call{
		op: "have " + f.Path + " verified", method: http.MethodPost, url: r.c.rebase(g.Actions.Verify.Href),
		header: map[string]string{"Accept": lfsType, "Content-Type": lfsType},
	}, g.object, nil)
}

func (r *Repo) sendWhole(ctx context.Context, f *File, up *action) error {
	return r.store(ctx, &call{
		op: "send " + f.Path, method: http.MethodPut, url: r.c.rebase(up.Href), noAuth: true,
		body: &body{size: f.Size, open: f.content},
	})
}

// store sends to storage, which fails in a way of its own on slow links: 400 RequestTimeout.
func (r *Repo) store(ctx context.Context, cl *call) error {
	select {
	case r.c.slots <- struct{}{}:
		defer func() { <-r.c.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for try := 0; ; try++ {
		err := r.c.do(ctx, cl)
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusBadRequest || e.Code != "RequestTimeout" || try >= r.c.o.Retries {
			return err
		}
		if err := r.c.wait(ctx, e, step(try)); err != nil {
			return err
		}
	}
}

// section gives a part of a content.
func (f *File) section(offset, size int64) (io.ReadCloser, error) {
	rc, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	if s, ok := rc.(io.Seeker); ok {
		_, err = s.Seek(offset, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, rc, offset)
	}
	if errors.Is(err, io.EOF) {
		err = ErrChanged
	}
	if err != nil {
		rc.Close()
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(rc, size), rc}, nil
}
