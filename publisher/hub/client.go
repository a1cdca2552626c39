package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// Options are for New. Every field may be left zero.
type Options struct {
	Endpoint string // base URL of the Hub, default https://huggingface.co; see the function Endpoint
	Token    string // access token; "" sends none
	// HTTP sends the requests, default one of our own. Its redirect policy is replaced and its cookie jar is not used.
	HTTP      *http.Client
	UserAgent string // default "tracefleet"
	Parallel  int    // uploads at a time, default 8
	// Retries is how often a request is sent again after a passing failure, default 5.
	Retries int
	// MaxWait is the longest single wait that the client sleeps through when the Hub asks for one, default 6 minutes: the
	// Hub's rate limits are of 5 minutes. Where it asks for more, as the hourly quota of commits does, the call fails with an
	// *Error whose RetryAfter says when to come back.
	MaxWait time.Duration
	// Stall ends a request in which no byte moved for so long, default 2 minutes; the Hub gives up on its own work after one.
	Stall time.Duration
	Now   func() time.Time                                 // default time.Now
	Sleep func(ctx context.Context, d time.Duration) error // default sleeps, and fails with the context's error
	Log   zerolog.Logger                                   // debug: each request; info: each wait
	// Receipts is a directory for what is known of uploads in parts, so that another process goes on with them; empty: this one's memory alone.
	Receipts string
	// Waiting is told of each wait before a request is sent again; nil: nobody.
	Waiting func(why *Error, d time.Duration)
}

// Client speaks to one Hub as one user. It may be used by several goroutines.
type Client struct {
	o        Options
	endpoint *url.URL // without a trailing slash
	http     *http.Client
	slots    chan struct{} // held by uploads

	mu  sync.Mutex
	who *Identity
}

// Offline reports whether the environment forbids to use the Hub at all: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is true.
func Offline(getenv func(string) string) bool {
	return isTrue(getenv("HF_HUB_OFFLINE")) || isTrue(getenv("TRANSFORMERS_OFFLINE"))
}

// New makes a client. Nothing is sent. It fails for an endpoint that CheckEndpoint refuses and for a token that no header can carry.
func New(o Options) (*Client, error) {
	if o.Endpoint == "" {
		o.Endpoint = publicEndpoint
	}
	endpoint, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if i := strings.IndexFunc(o.Token, func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
		return nil, fmt.Errorf("the Hub's token has a character at offset %d that no token has; copy it again", i)
	}
	setDefault(&o.UserAgent, "tracefleet")
	setDefault(&o.Parallel, 8)
	setDefault(&o.Retries, 5)
	setDefault(&o.MaxWait, 6*time.Minute)
	setDefault(&o.Stall, 2*time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	c := &Client{o: o, endpoint: endpoint, slots: make(chan struct{}, o.Parallel)}
	c.http = c.client(o.HTTP)
	return c, nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// client gives a copy of given, or a client that keeps as many connections as there are uploads at a time.
func (c *Client) client(given *http.Client) *http.Client {
	var mine http.Client
	if given != nil {
		mine.Transport, mine.Timeout = given.Transport, given.Timeout
	}
	if mine.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = c.o.Parallel + 1
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		mine.Transport = t
	}
	mine.CheckRedirect = c.redirect
	return &mine
}

// redirect lets the token go nowhere but to the endpoint, and lets no request that writes become one that reads.
func (c *Client) redirect(req *http.Request, via []*http.Request) error {
	first, last := via[0], via[len(via)-1]
	if len(via) >= 10 {
		return errors.New("10 redirects in a row")
	}
	if first.Method != req.Method {
		return fmt.Errorf("the Hub moved it to %s; give the repository's id as the Hub spells it", display(req.URL))
	}
	if !sameOrigin(req.URL, c.endpoint) || last.Header.Get("Authorization") == "" {
		req.Header.Del("Authorization")
	}
	req.Header.Del("Referer") // it may have been a signed URL
	return nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Host, b.Host)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isTrue reads a flag of the environment as the official client does.
func isTrue(value string) bool {
	switch strings.ToUpper(value) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}

// repoName is what each half of a repository's id may be.
var repoName = regexp.MustCompile(`^[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?$`)

// Repo is a dataset repository.
type Repo struct {
	c  *Client
	id string

	mu    sync.Mutex
	parts map[string]*parts // multipart uploads that were not completed, by the object's digest
}

// Dataset gives the repository "namespace/name". Nothing is asked of the Hub; the id is checked against its rules.
func (c *Client) Dataset(id string) (*Repo, error) {
	ns, name, ok := strings.Cut(id, "/")
	if !ok || !repoName.MatchString(ns) || !repoName.MatchString(name) ||
		strings.Contains(id, "--") || strings.Contains(id, "..") || strings.HasSuffix(id, ".git") {
		return nil, fmt.Errorf("repository id is %q, must be NAMESPACE/NAME of letters, digits, '-', '_' and '.', such as flashinfer-ai/flashinfer-trace", id)
	}
	return &Repo{c: c, id: id, parts: map[string]*parts{}}, nil
}

// ID gives "namespace/name" as it was given to Dataset.
func (r *Repo) ID() string { return r.id }

// url joins pieces, which must be escaped already, to the endpoint.
func (c *Client) url(pieces ...string) string {
	return strings.Join(append([]string{c.endpoint.String()}, pieces...), "/")
}

// api gives a URL under the repository's part of the API. Pieces are escaped, each as one segment: refs/pr/3 is refs%2Fpr%2F3.
func (r *Repo) api(pieces ...string) string {
	path := []string{"api/datasets", r.id}
	for _, p := range pieces {
		path = append(path, url.PathEscape(p))
	}
	return r.c.url(path...)
}
