package hub

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Read copies a file's content to w, and checks it against the digest that the Hub names. After an error w may have a part of it.
// It fails with status 404 and Code EntryNotFound where there is no such file.
func (r *Repo) Read(ctx context.Context, rev, path string, w io.Writer) (Entry, error) {
	escaped := strings.Split(path, "/")
	for i, p := range escaped {
		escaped[i] = url.PathEscape(p)
	}
	op := fmt.Sprintf("read %s at %s", path, rev)
	d := &download{path: path, w: w}
	cl := call{op: op, method: http.MethodGet, take: d.take}
	cl.url = r.c.url(append([]string{"datasets", r.id, "resolve", url.PathEscape(rev)}, escaped...)...)
	for try := 0; ; try++ {
		cl.header = d.header()
		e := r.c.attempt(ctx, &cl)
		if e == nil {
			return d.entry, nil
		}
		if ctx.Err() != nil || !e.Retryable || try >= r.c.o.Retries {
			return Entry{}, e
		}
		if err := r.c.wait(ctx, e, step(try)); err != nil {
			return Entry{}, err
		}
	}
}

// download is a file of which some bytes may have come already.
type download struct {
	path  string
	w     io.Writer
	entry Entry
	etag  string
	hash  hash.Hash
	got   int64
}

// header asks for what has not come yet, in no encoding but the file's own.
func (d *download) header() map[string]string {
	h := map[string]string{"Accept-Encoding": "identity"}
	if d.got > 0 {
		h["Range"] = fmt.Sprintf("bytes=%d-", d.got)
	}
	return h
}

func (d *download) take(resp *http.Response) error {
	etag, size := described(resp)
	if d.hash == nil {
		if err := d.start(etag, size); err != nil {
			return err
		}
	}
	switch {
	case etag != d.etag:
		return &garbled{fmt.Errorf("it changed from %s to %s while it was read", d.etag, etag)}
	case d.got > 0 && resp.StatusCode != http.StatusPartialContent:
		return &garbled{errors.New("the connection broke, and the rest cannot be had alone")}
	}
	n, err := io.Copy(io.MultiWriter(d.hash, &sink{d.w}), resp.Body)
	d.got += n
	var own *garbled
	switch {
	case errors.As(err, &own):
		return own
	case err != nil:
		return err
	case d.got != d.entry.Size:
		return io.ErrUnexpectedEOF
	case hexSum(d.hash) != d.etag:
		return &garbled{fmt.Errorf("its content is %s, the Hub says %s", hexSum(d.hash), d.etag)}
	}
	return nil
}

// sink marks errors of the receiver, which no retry mends.
type sink struct{ io.Writer }

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.Writer.Write(p)
	if err != nil {
		err = &garbled{err}
	}
	return n, err
}

func (d *download) start(etag string, size int64) error {
	d.etag, d.entry = etag, Entry{Path: d.path, Size: size}
	switch len(etag) {
	case 2 * sha256.Size:
		d.hash, d.entry.LFS = sha256.New(), etag
	case 40:
		d.hash, d.entry.OID = gitHash(size), etag
	default:
		return &garbled{fmt.Errorf("the Hub names no digest of it (ETag %q), so it cannot be checked", etag)}
	}
	return nil
}

// described gives the digest and the size that the Hub names. For a large file it does so where it redirects to storage.
func described(resp *http.Response) (etag string, size int64) {
	etag, size = resp.Header.Get("ETag"), resp.ContentLength
	for r := resp; r != nil; r = r.Request.Response {
		if linked := r.Header.Get("X-Linked-Etag"); linked != "" {
			etag = linked
			if _, err := fmt.Sscan(r.Header.Get("X-Linked-Size"), &size); err != nil {
				size = resp.ContentLength
			}
		}
	}
	return strings.ToLower(strings.Trim(strings.TrimPrefix(etag, "W/"), `"`)), size
}
