package hub

import (
	"cmp"
	"context"
	"crypto/sha1" // git's object ids
	"crypto/sha256"
	"encoding/hex"
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
		if errors.Is(e, errUndescribed) && d.hash == nil {
			if err := r.describe(ctx, rev, d); err != nil {
				return Entry{}, err
			}
			continue
		}
		if ctx.Err() != nil || !e.Retryable || try >= r.c.retries(e) {
			return Entry{}, e
		}
		if err := r.c.wait(ctx, e, step(try)); err != nil {
			return Entry{}, err
		}
	}
}

// errUndescribed is an answer that does not say what it is an answer of.
var errUndescribed = errors.New("the Hub names no digest of it, or no size")

// describe asks what the file is, where the answer with its content does not say.
func (r *Repo) describe(ctx context.Context, rev string, d *download) error {
	entries, err := r.PathsInfo(ctx, rev, []string{d.path})
	switch {
	case err != nil:
		return err
	case len(entries) != 1 || entries[0].Dir:
		return fmt.Errorf("read %s at %s: %w", d.path, rev, errUndescribed)
	}
	return d.start(cmp.Or(entries[0].LFS, entries[0].OID), entries[0].Size)
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
	if isDigest(etag) && etag != d.etag {
		return &garbled{fmt.Errorf("it changed from %s to %s while it was read", d.etag, etag)}
	}
	if d.got > 0 && resp.StatusCode != http.StatusPartialContent { // all of it, though the rest was asked for
		if _, err := io.CopyN(io.Discard, resp.Body, d.got); err != nil {
			return err
		}
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

// start takes what the Hub says of the file, by which its content is judged.
func (d *download) start(etag string, size int64) error {
	if !isDigest(etag) || size < 0 {
		return &garbled{errUndescribed}
	}
	d.etag, d.entry = etag, Entry{Path: d.path, Size: size}
	if len(etag) == 2*sha256.Size {
		d.hash, d.entry.LFS = sha256.New(), etag
	} else {
		d.hash, d.entry.OID = gitHash(size), etag
	}
	return nil
}

// isDigest reports whether an ETag is a git blob id or the SHA-256 of a large file.
func isDigest(etag string) bool {
	_, err := hex.DecodeString(etag)
	return err == nil && (len(etag) == 2*sha1.Size || len(etag) == 2*sha256.Size)
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
