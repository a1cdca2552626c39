package hub

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Error is a request to the Hub, or to its storage, that did not succeed. It has neither the token nor the query of any URL.
type Error struct {
	Op      string // what was tried, such as "create pull request"
	Method  string
	URL     string // without its query
	Status  int    // 0: there was no answer
	Code    string // X-Error-Code, such as RepoNotFound, RevisionNotFound, EntryNotFound; or storage's code
	Message string // the Hub's own words
	// RequestID is what the Hub's support asks for.
	RequestID string
	// Retryable says that the same call may succeed later; RetryAfter says when, where the Hub does. A call that returns such
	// an error has done its own retries already.
	Retryable  bool
	RetryAfter time.Duration
	// Lost says that the request may have been carried out, and must not be repeated before the Hub was asked.
	Lost bool
	// Conflict says that the branch has moved: read it again, and merge.
	Conflict bool
	// NoHub says that nothing answers at the endpoint, or nothing that is a Hub: HF_ENDPOINT is to be checked.
	NoHub bool
	Err   error // the cause where there was no answer, such as context.Canceled

	why     string // in plain words, of NoHub
	retries int    // most that is worth it, where that is fewer than Options.Retries; 0: it is not
}

// Error implements error.
func (e *Error) Error() string {
	if e.NoHub {
		return e.Op + ": " + e.why
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %s: ", e.Op, e.Method, e.URL)
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d %s", e.Status, http.StatusText(e.Status))
	} else {
		b.WriteString("no answer")
	}
	if e.Code != "" {
		fmt.Fprintf(&b, " (%s)", e.Code)
	}
	switch {
	case e.Message != "":
		b.WriteString(": " + e.Message)
	case e.Err != nil:
		b.WriteString(": " + e.Err.Error())
	}
	if hint := e.hint(); hint != "" {
		b.WriteString("; " + hint)
	}
	if e.RequestID != "" {
		b.WriteString(" [request " + e.RequestID + "]")
	}
	return b.String()
}

// hint says what to do, where that is known.
func (e *Error) hint() string {
	switch {
	case e.Lost:
		return "it may have been done all the same: ask the Hub before trying again"
	case e.Conflict:
		return "read the branch again and add to what is there"
	case e.RetryAfter > 0:
		return "come back in " + e.RetryAfter.String()
	case e.Status == http.StatusUnauthorized:
		return "check the repository's id, and the token: HF_TOKEN, or `hf auth login`"
	case e.Status == http.StatusForbidden:
		return "the token must have write access: https://huggingface.co/settings/tokens"
	}
	return ""
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// errStalled is the cause where no byte moved for Options.Stall.
var errStalled = errors.New("no byte moved for too long")

// refused makes the error of an answer whose status is no success.
func (c *Client) refused(cl *call, resp *http.Response) *Error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	code, message := explain(resp.Header, body)
	e := &Error{
		Op: cl.op, Method: cl.method, URL: c.display(cl.url), Status: resp.StatusCode,
		Code: c.redact(code), Message: c.redact(message), RequestID: c.redact(resp.Header.Get("X-Request-Id")),
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusConflict: // refused before anything was done
		e.Retryable = true
	case http.StatusPreconditionFailed:
		e.Conflict = true
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.Retryable, e.Lost = !cl.once, cl.once
	}
	e.RetryAfter = retryAfter(resp.StatusCode, resp.Header, message, c.o.Now())
	if cl.hub != nil && !refusedByHub(resp, body) {
		c.noHub(e, "%s does not answer as a Hub does (%s)", display(c.endpoint), said(resp, body))
	}
	return e
}

// failed makes the error of a request without an answer. sent says whether the Hub may have had it.
func (c *Client) failed(cl *call, sent bool, err error) *Error {
	e := &Error{Op: cl.op, Method: cl.method, URL: c.display(cl.url), Lost: sent && cl.once, Err: c.plain(err)}
	e.Retryable = !e.Lost
	c.unreached(e, cl, err)
	return e
}

// plain takes URLs and tokens out of an error, and keeps what errors.Is finds in it.
func (c *Client) plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if text := c.redact(err.Error()); text != err.Error() {
		return &redacted{text: text, err: err}
	}
	return err
}

type redacted struct {
	text string
	err  error
}

func (r *redacted) Error() string        { return r.text }
func (r *redacted) Is(target error) bool { return errors.Is(r.err, target) }

// query finds the query of each URL in a text.
var query = regexp.MustCompile(`(https?://[^\s"'<>?]*)\?[^\s"'<>]*`)

// redact takes the token and the queries of URLs out of a text.
func (c *Client) redact(text string) string {
	if c.o.Token != "" {
		text = strings.ReplaceAll(text, c.o.Token, "(token)")
	}
	return query.ReplaceAllString(text, "$1?…")
}

func (c *Client) display(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(no URL)"
	}
	return c.redact(display(u))
}

func display(u *url.URL) string {
	return u.Scheme + "://" + u.Host + u.EscapedPath()
}

// longestMessage is how much of an answer that is no JSON an error repeats, in bytes.
const longestMessage = 500

// explain reads the code and the words of an error from the Hub (headers, JSON in two forms) or from storage (XML).
func explain(h http.Header, body []byte) (code, message string) {
	code, message = h.Get("X-Error-Code"), h.Get("X-Error-Message")
	if message != "" {
		return code, message
	}
	var said struct {
		Error   json.RawMessage `json:"error"`
		Message string          `json:"message"`
		Errors  []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &said) == nil {
		var parts []string
		if one := ""; json.Unmarshal(said.Error, &one) == nil {
			parts = append(parts, one)
		} else {
			_ = json.Unmarshal(said.Error, &parts)
		}
		for _, e := range said.Errors {
			parts = append(parts, e.Message)
		}
		if said.Message != "" {
			parts = append(parts, said.Message)
		}
		return code, strings.Join(parts, "; ")
	}
	var storage struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	if xml.Unmarshal(body, &storage) == nil {
		return storage.Code, storage.Message
	}
	text := strings.Join(strings.Fields(string(bytes.ToValidUTF8(body, nil))), " ")
	if len(text) > longestMessage {
		text = strings.ToValidUTF8(text[:longestMessage], "") + "…"
	}
	return code, text
}
