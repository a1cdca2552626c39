package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const (
	jsonType = "application/json"
	// mostJSON is the longest answer read, in bytes.
	mostJSON = 256 << 20
)

// call is one request as its sender means it.
type call struct {
	op     string // what is tried, for errors and logs
	method string
	url    string
	header map[string]string
	body   *body
	noAuth bool // it goes to storage, or is signed already
	// once: it must not be carried out twice, so it is sent again only where the Hub surely did nothing.
	once bool
	// hub reports whether the answer that was read is a Hub's. It is set for what every Hub answers with an object.
	hub func() bool
	// take reads an answer whose status is a success. Nil: there is nothing to read.
	take func(*http.Response) error
}

// body is a request's body, which is opened anew for each try.
type body struct {
	size int64
	open func() (io.ReadCloser, error)
}

func bytesBody(data []byte) *body {
	return &body{size: int64(len(data)), open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}
}

// jsonCall fills in what calls of JSON to JSON have in common. send and answer may be nil.
func jsonCall(cl call, send, answer any) (*call, error) {
	header := map[string]string{"Accept": jsonType}
	if send != nil {
		data, err := json.Marshal(send)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", cl.op, err)
		}
		cl.body = bytesBody(data)
		header["Content-Type"] = jsonType
	}
	for k, v := range cl.header {
		header[k] = v
	}
	cl.header = header
	if answer != nil {
		cl.take = func(resp *http.Response) error { return decode(resp, answer, cl.hub) }
	}
	return &cl, nil
}

// json sends JSON and decodes the JSON that comes back. send and answer may be nil.
func (c *Client) json(ctx context.Context, cl call, send, answer any) error {
	full, err := jsonCall(cl, send, answer)
	if err != nil {
		return err
	}
	return c.do(ctx, full)
}

func decode(resp *http.Response, answer any, hub func() bool) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostJSON))
	if err != nil {
		return err
	}
	err = json.Unmarshal(data, answer)
	if hub != nil && (!isObject(data) || err == nil && !hub()) {
		return &garbled{&foreign{said(resp, data)}}
	}
	if err != nil {
		return &garbled{fmt.Errorf("the answer is not what was asked for: %w", err)}
	}
	return nil
}

// garbled is an answer that was received and makes no sense; asking again would not help.
type garbled struct{ error }

func (g *garbled) Unwrap() error { return g.error }

// do sends a request, again where that is safe and may help.
func (c *Client) do(ctx context.Context, cl *call) error {
	for try := 0; ; try++ {
		e := c.attempt(ctx, cl)
		if e == nil {
			return nil
		}
		if ctx.Err() != nil || !e.Retryable || e.Status == http.StatusConflict || try >= c.retries(e) {
			return e
		}
		if err := c.wait(ctx, e, step(try)); err != nil {
			return err
		}
	}
}

// retries gives how often a request that ended with e is sent again.
func (c *Client) retries(e *Error) int {
	if e.retries > 0 {
		return min(e.retries, c.o.Retries)
	}
	return c.o.Retries
}

// wait sleeps as long as e asks for, or else the given time. It gives e back where that is longer than is waited for here.
func (c *Client) wait(ctx context.Context, e *Error, otherwise time.Duration) error {
	d := e.RetryAfter
	if d == 0 {
		d = otherwise
	}
	if d > c.o.MaxWait {
		return e
	}
	c.o.Log.Info().Str("op", e.Op).Int("status", e.Status).Dur("wait", d).AnErr("cause", e.Err).Msg("the Hub is asked again after a wait")
	if c.o.Waiting != nil {
		c.o.Waiting(e, d)
	}
	if err := c.o.Sleep(ctx, d); err != nil {
		return fmt.Errorf("%w (waiting after: %w)", err, e)
	}
	return nil
}

// attempt sends a request once. The result is nil only for a success.
func (c *Client) attempt(ctx context.Context, cl *call) *Error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(c.o.Stall, func() { cancel(errStalled) })
	defer watch.Stop()
	moved := func() { watch.Reset(c.o.Stall) }

	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent.Store(true) }})
	var broken atomic.Pointer[error]
	req, err := c.request(traced, cl, moved, &broken)
	if err != nil {
		return c.unsent(cl, err)
	}
	start := c.o.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		if b := broken.Load(); b != nil { // our own content failed, which is no fault of the Hub
			return c.unsent(cl, *b)
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return c.failed(cl, sent.Load(), err)
	}
	defer resp.Body.Close()
	resp.Body = &watched{ReadCloser: resp.Body, moved: moved}
	c.o.Log.Debug().Str("op", cl.op).Str("method", cl.method).Str("url", c.display(cl.url)).Int("status", resp.StatusCode).
		Dur("took", c.o.Now().Sub(start)).Msg("asked the Hub")
	if notice := resp.Header.Get("X-HF-Warning"); notice != "" { // such as that a call will be gone
		c.o.Log.Warn().Str("op", cl.op).Str("notice", c.redact(notice)).Msg("the Hub has a notice")
	}
	if resp.StatusCode/100 != 2 {
		return c.refused(cl, resp)
	}
	if cl.take == nil {
		return nil
	}
	if err := cl.take(resp); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		e := c.failed(cl, true, err)
		e.Status, e.RequestID = resp.StatusCode, resp.Header.Get("X-Request-Id")
		var g *garbled
		e.Retryable = e.Retryable && !errors.As(err, &g)
		if f := new(foreign); errors.As(err, &f) {
			c.noHub(e, "%s does not answer as a Hub does (%s)", display(c.endpoint), f.said)
		}
		return e
	}
	return nil
}

// unsent makes the error of a request that could not be made whole, and so was not carried out.
func (c *Client) unsent(cl *call, err error) *Error {
	return &Error{Op: cl.op, Method: cl.method, URL: c.display(cl.url), Err: c.plain(err)}
}

func (c *Client) request(ctx context.Context, cl *call, moved func(), broken *atomic.Pointer[error]) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, cl.method, cl.url, nil)
	if err != nil {
		return nil, err
	}
	for k, v := range cl.header {
		req.Header.Set(k, v)
	}
	req.Header.Set("User-Agent", c.o.UserAgent)
	if c.o.Token != "" && !cl.noAuth && sameOrigin(req.URL, c.endpoint) {
		req.Header.Set("Authorization", "Bearer "+c.o.Token)
	}
	if cl.body == nil {
		return req, nil
	}
	req.ContentLength = cl.body.size
	if cl.body.size == 0 {
		req.Body = http.NoBody
		return req, nil
	}
	req.GetBody = func() (io.ReadCloser, error) {
		rc, err := cl.body.open()
		if err != nil {
			broken.Store(&err)
			return nil, err
		}
		return &watched{ReadCloser: rc, moved: moved, broken: broken}, nil
	}
	req.Body, err = req.GetBody()
	return req, err
}

// watched tells when bytes move, and keeps the error that reading ended with.
type watched struct {
	io.ReadCloser
	moved  func()
	broken *atomic.Pointer[error]
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if n > 0 {
		w.moved()
	}
	if err != nil && !errors.Is(err, io.EOF) && w.broken != nil {
		w.broken.Store(&err)
	}
	return n, err
}

// rebase sends to the endpoint what the Hub names by its public address, as it does behind a proxy.
func (c *Client) rebase(raw string) string {
	if rest, ok := strings.CutPrefix(raw, publicEndpoint+"/"); ok {
		return c.url(rest)
	}
	return raw
}

// next gives the URL of the following page from a Link header, "" on the last one. It must be the endpoint's own: the token
// goes with it.
func (c *Client) next(h http.Header) (string, error) {
	for _, value := range h.Values("Link") {
		for link := range strings.SplitSeq(value, ",") {
			target, attributes, ok := strings.Cut(strings.TrimSpace(link), ">")
			if !ok || !strings.HasPrefix(target, "<") || !strings.Contains(strings.ReplaceAll(attributes, " ", ""), `;rel="next"`) {
				continue
			}
			raw := c.rebase(target[1:])
			u, err := url.Parse(raw)
			if err != nil || !sameOrigin(u, c.endpoint) {
				return "", &garbled{errors.New("the next page is not at the Hub's endpoint")}
			}
			return raw, nil
		}
	}
	return "", nil
}
