package hub

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"sync"

	"golang.org/x/sync/errgroup"
)

// parts is a multipart upload under way. It is kept until it is complete, so that after a failure only what is missing is sent.
type parts struct {
	href  string // of its completion, which is of this upload and no other
	chunk int64

	mu    sync.Mutex
	etags map[int]string // storage's receipt of each part, by number from 1
	sums  map[int][sha256.Size]byte
}

func (p *parts) has(n int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.etags[n] != ""
}

func (p *parts) put(n int, etag string, sum [sha256.Size]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.etags[n], p.sums[n] = etag, sum
}

// multipart gives what is known of the upload that up describes. Another upload of the same content starts anew: its storage
// knows nothing of the parts.
func (r *Repo) multipart(f *File, up *action, chunk int64) *parts {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.parts[f.SHA256]
	if p == nil || p.href != up.Href || p.chunk != chunk {
		p = &parts{href: up.Href, chunk: chunk, etags: map[int]string{}, sums: map[int][sha256.Size]byte{}}
		r.c.recall(f.SHA256, p)
		r.parts[f.SHA256] = p
	}
	return p
}

func (r *Repo) forget(f *File) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.parts, f.SHA256)
	r.c.lose(f.SHA256)
}

func (r *Repo) sendParts(ctx context.Context, f *File, up *action) error {
	chunk, err := strconv.ParseInt(up.Header["chunk_size"], 10, 64)
	if err != nil || chunk <= 0 {
		return fmt.Errorf("send %s: storage asks for parts of %q bytes, which is no size", f.Path, up.Header["chunk_size"])
	}
	count := int((f.Size + chunk - 1) / chunk)
	urls, err := partURLs(up.Header, count)
	if err != nil {
		return fmt.Errorf("send %s: %w", f.Path, err)
	}
	p := r.multipart(f, up, chunk)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.c.o.Parallel)
	for n := 1; n <= count; n++ {
		if p.has(n) {
			continue
		}
		group.Go(func() error { return r.sendPart(groupCtx, f, p, n, r.c.rebase(urls[n])) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := p.check(f, count); err != nil {
		r.forget(f)
		return err
	}
	if err := r.complete(ctx, f, p, count); err != nil {
		return err
	}
	r.forget(f)
	return nil
}

// partURLs takes the URLs out of what the Hub calls headers: 1 to count, whatever the number of leading zeros.
func partURLs(header map[string]string, count int) (map[int]string, error) {
	urls := map[int]string{}
	for key, value := range header {
		if n, err := strconv.Atoi(key); err == nil {
			urls[n] = value
		}
	}
	for n := 1; n <= count; n++ {
		if urls[n] == "" {
			return nil, fmt.Errorf("storage gives no URL for part %d of %d", n, count)
		}
	}
	if len(urls) != count {
		return nil, fmt.Errorf("storage gives %d URLs for %d parts", len(urls), count)
	}
	return urls, nil
}

func (p *parts) size(f *File, n int) int64 {
	return min(p.chunk, f.Size-int64(n-1)*p.chunk)
}

func (r *Repo) sendPart(ctx context.Context, f *File, p *parts, n int, url string) error {
	var sent hash.Hash // of the last try
	cl := &call{op: fmt.Sprintf("send part %d of %s", n, f.Path), method: http.MethodPut, url: url, noAuth: true}
	cl.body = &body{size: p.size(f, n), open: func() (io.ReadCloser, error) {
		rc, err := f.section(int64(n-1)*p.chunk, p.size(f, n))
		if err != nil {
			return nil, err
		}
		h := sha256.New()
		sent = h
		return &part{rc: rc, hash: h, name: f.Path, left: p.size(f, n)}, nil
	}}
	cl.take = func(resp *http.Response) error {
		etag := resp.Header.Get("ETag")
		if etag == "" {
			return &garbled{errors.New("storage gives no ETag")}
		}
		p.put(n, etag, [sha256.Size]byte(sent.Sum(nil)))
		r.c.keep(f.SHA256, p)
		return nil
	}
	return r.store(ctx, cl)
}

// part reads a part of a content, and fails where that ends too early.
type part struct {
	rc   io.ReadCloser
	hash hash.Hash
	name string
	left int64
}

func (p *part) Read(b []byte) (int, error) {
	n, err := p.rc.Read(b)
	p.hash.Write(b[:n])
	p.left -= int64(n)
	if err == io.EOF && p.left > 0 {
		return n, fmt.Errorf("%s: %w", p.name, ErrChanged)
	}
	return n, err
}

func (p *part) Close() error { return p.rc.Close() }

// check reads the content once more: what was sent part by part, in any order, must be the parts of one content, f's.
func (p *parts) check(f *File, count int) error {
	rc, err := f.content()
	if err != nil {
		return err
	}
	defer rc.Close()
	for n := 1; n <= count; n++ {
		h := sha256.New()
		if _, err := io.CopyN(h, rc, p.size(f, n)); err != nil {
			return err
		}
		if [sha256.Size]byte(h.Sum(nil)) != p.sums[n] {
			return fmt.Errorf("%s: %w", f.Path, ErrChanged)
		}
	}
	return nil
}

// complete has storage join the parts.
func (r *Repo) complete(ctx context.Context, f *File, p *parts, count int) error {
	type receipt struct {
		Number int    `json:"partNumber"`
		ETag   string `json:"etag"`
	}
	send := struct {
		OID   string    `json:"oid"`
		Parts []receipt `json:"parts"`
	}{OID: f.SHA256}
	for n := 1; n <= count; n++ {
		send.Parts = append(send.Parts, receipt{n, p.etags[n]})
	}
	return r.c.json(ctx, call{
		op: "complete " + f.Path, method: http.MethodPost, url: r.c.rebase(p.href), noAuth: true,
		header: map[string]string{"Accept": lfsType, "Content-Type": lfsType},
	}, send, nil)
}
