package sglang

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

const (
	mostBody   = 64 << 20 // bytes of an answer
	tries      = 4        // of a request that no byte came back for
	firstPause = 200 * time.Millisecond
	pollTime   = 5 * time.Second // of one question whether the server is ready
)

// client speaks with one server. A request has no time limit: the first one builds kernels for minutes, and a server that hangs is ended by
// its own watchdog.
type client struct {
	base  string // http://127.0.0.1:30000
	model string
	http  *http.Client
}

func newClient(host string, port, inFlight int, model string) *client {
	switch host {
	case "", "0.0.0.0", "::", "*":
		host = "127.0.0.1"
	}
	return &client{
		base: "http://" + net.JoinHostPort(host, fmt.Sprint(port)), model: model,
		http: &http.Client{Transport: &http.Transport{ // no proxy: the server is ours
			MaxIdleConnsPerHost: inFlight + 1, DisableCompression: true, IdleConnTimeout: time.Minute,
		}},
	}
}

func (c *client) close() { c.http.CloseIdleConnections() }

// up reports whether the server says, at a path that generates nothing, that it is ready.
func (c *client) up(ctx context.Context, path string) bool {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return false
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, mostBody))
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// unservedError is a request that the server did not serve, for a reason that its log or its end may tell.
type unservedError struct{ error }

func unserved(format string, args ...any) error { return &unservedError{fmt.Errorf(format, args...)} }

// Unwrap gives what was noticed.
func (e *unservedError) Unwrap() error { return e.error }

// send serves one request. Errors are *proto.Failure where the request was at fault, ctx's cause, or an *unservedError.
func (c *client) send(ctx context.Context, r traffic.Request) error {
	path, body := "/generate", map[string]any{"input_ids": r.InputIDs, "sampling_params": r.SamplingParams(), "stream": false}
	if r.Messages != nil {
		path, body = "/v1/chat/completions", r.ChatBody(c.model)
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	pause := firstPause
	for try := 1; ; try++ {
		resp, err := c.post(ctx, path, data)
		if err == nil {
			return c.answer(path, r.ID, resp)
		}
		// Nothing came back, so nothing tells that it was served; a request that was begins anew costs no more than itself.
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if try == tries {
			return unserved("request %d to %s: %w", r.ID, path, err)
		}
		select {
		case <-time.After(pause):
			pause *= 2
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *client) post(ctx context.Context, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	return c.http.Do(req)
}

// answer reads the response. A request that SGLang gave up on comes back with status 200 and a reason.
func (c *client) answer(path string, id int, resp *http.Response) error {
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	if err != nil {
		return unserved("request %d to %s: its answer broke off: %w", id, path, err)
	}
	switch {
	case resp.StatusCode >= 500:
		return unserved("request %d to %s: status %s: %s", id, path, resp.Status, clip(string(data)))
	case resp.StatusCode >= 400:
		return proto.Failf(proto.CodeBadTraffic, "SGLang refuses request %d to %s: status %s: %s", id, path, resp.Status, clip(string(data))).
			WithHint("prompt and answer together (--isl, --osl) must fit the model's context and the KV pool (--pool-tokens)")
	case resp.StatusCode != http.StatusOK:
		return proto.Failf(proto.CodeEngineFailed, "request %d to %s: status %s: %s", id, path, resp.Status, clip(string(data))).WithRetry()
	}
	var body struct {
		Error any `json:"error"`
		Meta  struct {
			Finish json.RawMessage `json:"finish_reason"`
		} `json:"meta_info"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return proto.Failf(proto.CodeEngineFailed, "request %d to %s: its answer is no JSON object: %s", id, path, clip(string(data))).WithRetry()
	}
	var finish struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	_ = json.Unmarshal(body.Meta.Finish, &finish) // null, or a chat's: no object
	if finish.Type == "abort" {
		return unserved("request %d to %s: aborted: %s", id, path, clip(finish.Message))
	}
	if body.Error != nil {
		return unserved("request %d to %s: %s", id, path, clip(strings.TrimSpace(fmt.Sprint(body.Error))))
	}
	return nil
}
