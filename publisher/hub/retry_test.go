package hub

import (
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	const quota = "You have exceeded the rate limit for repository commits (128 per hour). You can retry this action in about 1 hour. If you're a new user, your limits will raise."
	for _, c := range []struct {
		name    string
		status  int
		header  map[string]string
		message string
		want    time.Duration
	}{
		{"nothing said", 429, nil, "", 0},
		{"nothing remains", 429, map[string]string{"RateLimit": `"api";r=0;t=156`}, "", 157 * time.Second},
		{"of two buckets the empty one", 429, map[string]string{"RateLimit": `"pages";r=7;t=9, "api";r=0;t=31`}, "", 32 * time.Second},
		{"something remains: t is of another limit", 429, map[string]string{"RateLimit": `"api";r=949;t=271`}, "", 0},
		{"the older header", 429, map[string]string{"Retry-After": "30"}, "", 31 * time.Second},
		{"a date", 503, map[string]string{"Retry-After": now.Add(time.Minute).Format(http.TimeFormat)}, "", 61 * time.Second},
		{"a date gone by", 503, map[string]string{"Retry-After": now.Add(-time.Minute).Format(http.TimeFormat)}, "", 0},
		{"a header that makes no sense", 503, map[string]string{"Retry-After": "soon"}, "", 0},
		{"a header that asks for less than nothing", 429, map[string]string{"Retry-After": "-5"}, "", 0},
		{"the empty bucket before the older header", 429, map[string]string{"RateLimit": `"api";r=0;t=5`, "Retry-After": "300"}, "", 6 * time.Second},
		{"the quota of commits", 429, map[string]string{"RateLimit": `"api";r=949;t=271`, "Retry-After": "1"}, quota, time.Hour},
		{"minutes", 429, nil, "You can retry this action in about 25 minutes", 25 * time.Minute},
		{"an hour in words", 429, nil, "You can retry this action in about an hour", time.Hour},
		{"a quota without a time", 429, map[string]string{"RateLimit": `"api";r=9;t=2`}, "You have exceeded the rate limit for comments (20 per hour).", time.Hour},
		{"other statuses do not say", 500, map[string]string{"Retry-After": "30", "RateLimit": `"api";r=0;t=5`}, quota, 0},
	} {
		h := http.Header{}
		for k, v := range c.header {
			h.Set(k, v)
		}
		if got := retryAfter(c.status, h, c.message, now); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRetry_WaitsAsAsked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		fault hubtest.Action
		times int
		want  []time.Duration
	}{
		{"the empty bucket", hubtest.RateLimited(156), 2, []time.Duration{157 * time.Second, 157 * time.Second}},
		{"the older header", hubtest.RetryLater(429, 7), 1, []time.Duration{8 * time.Second}},
		{"a Hub in trouble", hubtest.Action{Status: 503}, 5, []time.Duration{1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second}},
		{"a connection that is cut", hubtest.Action{Cut: true}, 2, []time.Duration{1 * time.Second, 2 * time.Second}},
		{"a body that breaks", hubtest.Action{CutBody: 10}, 1, []time.Duration{1 * time.Second}},
	} {
		b := setup(t, hubtest.Options{}, Options{})
		b.hub.Fault(hubtest.Times(c.times, hubtest.Preupload, c.fault))
		if _, err := b.repo.Preupload(t.Context(), "main", []File{blob(1, 100)}); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !slices.Equal(b.slept, c.want) {
			t.Errorf("%s: waited %v, want %v", c.name, b.slept, c.want)
		}
	}
}

func TestRetry_GivesUp(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{Retries: 3})
	b.hub.Fault(func(*http.Request, int) hubtest.Action {
		return hubtest.Action{Status: 502, Body: "<html>bad gateway</html>"}
	})
	_, err := b.repo.Info(t.Context(), "main")
	e := asError(t, err)
	if b.hub.Count(hubtest.Revision) != 4 || !e.Retryable || e.Lost || e.Status != 502 || e.Message != "<html>bad gateway</html>" || e.RequestID == "" {
		t.Errorf("after %d requests: %+v", b.hub.Count(hubtest.Revision), e)
	}
}

func TestRetry_NotWhereItHelpsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{Private: true}, Options{Token: "hf_wrong"})
	_, err := b.repo.Info(t.Context(), "main")
	if e := asError(t, err); e.Status != 401 || e.Retryable || !strings.Contains(e.Error(), "HF_TOKEN") {
		t.Errorf("%v", e)
	}
	if n := b.hub.Count(hubtest.Revision); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestQuotaOfCommits: an hour is too long to sleep through; who called is told when to come back.
func TestQuotaOfCommits(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{CommitsPerHour: 1}, Options{})
	pr := b.pr()
	if _, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "one", Files: []File{text("a.json", 1)}}); err != nil {
		t.Fatal(err)
	}
	_, err := b.repo.Add(t.Context(), pr.Ref(), Add{Summary: "two", Files: []File{text("b.json", 1)}})
	e := asError(t, err)
	if e.Status != 429 || e.RetryAfter != time.Hour || !e.Retryable || e.Lost || len(b.slept) > 0 || !strings.Contains(e.Error(), "come back in 1h") {
		t.Errorf("%+v, slept %v", e, b.slept)
	}
	if n := b.hub.Count(hubtest.MakeCommit); n != 2 {
		t.Errorf("%d commits were sent, want 2", n)
	}
}

func TestRateLimit_OfTheHub(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	b := setup(t, hubtest.Options{RequestsLimit: 2, Now: func() time.Time { return now }}, Options{
		Sleep: func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil },
	})
	for range 5 {
		if _, err := b.repo.Info(t.Context(), "main"); err != nil {
			t.Fatal(err)
		}
	}
	if n := b.hub.Count(hubtest.Revision); n != 7 {
		t.Errorf("%d requests, want 5 and one refused before each of two waits", n)
	}
}

// transport is a Hub by a function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// slow gives its bytes one at a time, each after a wait.
type slow struct {
	ctx  context.Context
	text string
}

func (s *slow) Read(p []byte) (int, error) {
	time.Sleep(time.Minute)
	if s.ctx.Err() != nil {
		return 0, s.ctx.Err()
	}
	if s.text == "" {
		return 0, io.EOF
	}
	n := copy(p[:1], s.text)
	s.text = s.text[n:]
	return n, nil
}

func (s *slow) Close() error { return nil }

// TestStall: a Hub that says nothing is given up, and one that is slow is not. The time is not real.
func TestStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := false
		c, err := New(Options{Stall: 3 * time.Minute, Retries: 1, HTTP: &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			if silent {
				<-r.Context().Done()
				return nil, r.Context().Err() // which is all that some transports say
			}
			if r.Body != nil {
				for b := make([]byte, 5); r.Context().Err() == nil; time.Sleep(time.Minute) {
					if _, err := r.Body.Read(b); err != nil {
						break
					}
				}
			}
			answer := &slow{r.Context(), `{"num":3,"sha":"x"}`}
			return &http.Response{StatusCode: 200, Body: answer, Request: r, Header: http.Header{}}, nil
		})}})
		if err != nil {
			t.Fatal(err)
		}
		repo, err := c.Dataset("a/b")
		if err != nil {
			t.Fatal(err)
		}
		if info, err := repo.Info(t.Context(), "main"); err != nil || info.SHA != "x" {
			t.Errorf("a slow answer: %+v, %v", info, err)
		}
		if pr, err := repo.CreatePR(t.Context(), "title", "text"); err != nil || pr.Num != 3 {
			t.Errorf("a slow request: %+v, %v", pr, err)
		}
		silent = true
		start := time.Now()
		if _, err := repo.Info(t.Context(), "main"); !errors.Is(err, errStalled) || time.Since(start) != 6*time.Minute+time.Second {
			t.Errorf("no answer: %v after %v", err, time.Since(start))
		}
	})
}

// TestStall_Lost: what a Hub does that says nothing, nobody knows.
func TestStall_Lost(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{Stall: 50 * time.Millisecond})
	b.hub.Fault(func(*http.Request, int) hubtest.Action { return hubtest.Action{Wait: make(chan struct{})} })
	_, err := b.repo.CreatePR(t.Context(), "Add workloads", "text")
	if e := asError(t, err); !errors.Is(err, errStalled) || !e.Lost || e.Retryable {
		t.Errorf("%+v", e)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	b.hub.Fault(func(*http.Request, int) hubtest.Action { cancel(); return hubtest.Action{Wait: make(chan struct{})} })
	_, err := b.repo.CreatePR(ctx, "Add workloads", "text")
	if e := asError(t, err); !errors.Is(err, context.Canceled) || !e.Lost {
		t.Errorf("%+v", e)
	}
	b.hub.Fault(func(*http.Request, int) hubtest.Action { return hubtest.Action{} })
	if _, err := b.repo.Info(ctx, "main"); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestUnreachable: what was never sent is not lost.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	b.hub.Close()
	_, err := b.repo.CreatePR(t.Context(), "Add workloads", "text")
	if e := asError(t, err); e.Lost || !e.Retryable || e.Status != 0 || !e.NoHub {
		t.Errorf("%+v", e)
	}
	if len(b.slept) != 5 {
		t.Errorf("tried again %d times, want 5", len(b.slept))
	}
	if !strings.Contains(b.log.String(), "connection refused") {
		t.Errorf("who waits is not told why: %s", b.log.String())
	}
	if strings.Count(err.Error(), b.hub.URL) != 1 {
		t.Errorf("the address is not told once: %v", err)
	}
}

func TestNotice(t *testing.T) {
	t.Parallel()
	b := setup(t, hubtest.Options{}, Options{})
	b.hub.Fault(hubtest.Once(hubtest.Revision, hubtest.Action{Status: 200, Body: `{"sha":"x"}`, Header: http.Header{"X-Hf-Warning": {"uploads; use a newer client"}}}))
	if _, err := b.repo.Info(t.Context(), "main"); err != nil || !strings.Contains(b.log.String(), "use a newer client") {
		t.Errorf("%v; logged %s", err, b.log.String())
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, code, said, body string
		want                   []string
	}{
		{"headers", "RepoNotFound", "Repository not found", `{"error":"x"}`, []string{"RepoNotFound", "Repository not found"}},
		{"a text", "", "", `{"error":"no"}`, []string{"", "no"}},
		{"a list", "", "", `{"error":["a","b"]}`, []string{"", "a; b"}},
		{"errors", "", "", `{"errors":[{"message":"a"},{"message":"b"}]}`, []string{"", "a; b"}},
		{"lfs", "", "", `{"message":"not here"}`, []string{"", "not here"}},
		{"storage", "", "", `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`, []string{"AccessDenied", "Request has expired"}},
		{"a page", "", "", "<html>\n  <b>502</b></html>", []string{"", "<html> <b>502</b></html>"}},
		{"nothing", "", "", "", []string{"", ""}},
	} {
		h := http.Header{}
		h.Set("X-Error-Code", c.code)
		h.Set("X-Error-Message", c.said)
		code, message := explain(h, []byte(c.body))
		if got := []string{code, message}; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if _, message := explain(http.Header{}, []byte(strings.Repeat("é", 1000))); len(message) > longestMessage+len("…") {
		t.Errorf("a message of %d bytes", len(message))
	}
}
