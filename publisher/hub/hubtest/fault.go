package hubtest

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"strconv"
)

// When an Action happens.
type When int

// Before the request has had its effect, after it, or before an effect that comes all the same: Later carries the request out when
// Wait is closed, with nobody to hear the answer, as the Hub may after a gateway gave up.
const (
	Before When = iota
	After
	Later
)

// Action is what happens to a request. The zero Action is nothing.
type Action struct {
	When When
	// Wait holds the request until the channel is closed, or the client goes away: what was to come Before has no effect then.
	Wait <-chan struct{}
	// Done is closed when an effect that comes Later has come.
	Done chan<- struct{}
	// Status, Header and Body answer in the Hub's place. 0 leaves the answer to the Hub.
	Status int
	Header http.Header
	Body   string
	// Cut ends the connection without an answer.
	Cut bool
	// CutBody ends the connection when more than so many bytes of the request's body have come; 0: it does not.
	CutBody int64
}

// Fault has f asked about every request, with its number, counted from 1 over all requests. Kind tells what the request is.
// nil ends it. f may be called by several goroutines at a time.
func (s *Server) Fault(f func(r *http.Request, n int) Action) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.fault = f
}

// Once makes a fault of what happens to the first request of a kind only.
func Once(kind Kind, a Action) func(*http.Request, int) Action { return Times(1, kind, a) }

// Times makes a fault of what happens to the first n requests of a kind.
func Times(n int, kind Kind, a Action) func(*http.Request, int) Action {
	tickets := make(chan struct{}, n)
	for range n {
		tickets <- struct{}{}
	}
	return func(r *http.Request, _ int) Action {
		if KindOf(r) != kind {
			return Action{}
		}
		select {
		case <-tickets:
			return a
		default:
			return Action{}
		}
	}
}

// RateLimited is the Hub's answer to too many requests; t is after how many seconds there are new ones.
func RateLimited(t int) Action {
	return Action{
		Status: http.StatusTooManyRequests, Body: `{"error":"We had to rate limit you. To continue using our service, create an account or log in"}`,
		Header: http.Header{"Ratelimit": {`"api";r=0;t=` + strconv.Itoa(t)}, "Ratelimit-Policy": {`"fixed window";"api";q=1000;w=300`}},
	}
}

// RetryLater is an answer with the older header for waits.
func RetryLater(status, seconds int) Action {
	return Action{Status: status, Header: http.Header{"Retry-After": {strconv.Itoa(seconds)}}, Body: `{"error":"please wait"}`}
}

// CommitQuota is the Hub's answer to too many commits. How long to wait is in its words only: the header is of another limit.
func CommitQuota() Action {
	return Action{
		Status: http.StatusTooManyRequests, Body: `{"error":"` + quotaText(128) + `"}`,
		Header: http.Header{"Ratelimit": {`"api";r=949;t=271`}, "Ratelimit-Policy": {`"fixed window";"api";q=1000;w=300`}},
	}
}

func quotaText(perHour int) string {
	return "You have exceeded the rate limit for repository commits (" + strconv.Itoa(perHour) + " per hour). " +
		"You can retry this action in about 1 hour. If you're a new user, your limits will raise progressively over time."
}

// act lets an Action happen around a handler.
func (a Action) act(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	if a.CutBody > 0 {
		r.Body = &cut{ReadCloser: r.Body, left: a.CutBody}
	}
	rec := &recorder{header: http.Header{}, status: http.StatusOK}
	switch a.When {
	case Before:
		if a.Wait != nil { // a server notices that its client is gone only after the body was read
			body, err := io.ReadAll(r.Body)
			if err != nil || !a.wait(r) {
				panic(http.ErrAbortHandler)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		if !a.answer(w) {
			handler.ServeHTTP(w, r)
		}
		return
	case Later:
		body, _ := io.ReadAll(r.Body)
		late := r.Clone(context.WithoutCancel(r.Context()))
		late.Body = io.NopCloser(bytes.NewReader(body))
		go func() {
			<-a.Wait
			handler.ServeHTTP(rec, late)
			if a.Done != nil {
				close(a.Done)
			}
		}()
		a.answer(w)
		return
	case After:
	}
	handler.ServeHTTP(rec, r)
	a.wait(r)
	if a.answer(w) {
		return
	}
	maps.Copy(w.Header(), rec.header)
	w.WriteHeader(rec.status)
	_, _ = w.Write(rec.body.Bytes())
}

// wait reports false where the client went away first.
func (a Action) wait(r *http.Request) bool {
	if a.Wait == nil {
		return true
	}
	select {
	case <-a.Wait:
		return true
	case <-r.Context().Done():
		return false
	}
}

// answer reports false where the answer is left to the Hub.
func (a Action) answer(w http.ResponseWriter) bool {
	if a.Cut {
		panic(http.ErrAbortHandler)
	}
	if a.Status == 0 {
		return false
	}
	maps.Copy(w.Header(), a.Header)
	w.WriteHeader(a.Status)
	_, _ = io.WriteString(w, a.Body)
	return true
}

// cut is a body that ends the connection.
type cut struct {
	io.ReadCloser
	left int64
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left <= 0 {
		panic(http.ErrAbortHandler)
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// recorder keeps an answer that may never be sent.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }
