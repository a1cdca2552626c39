package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestCheckEndpoint(t *testing.T) {
	t.Parallel()
	for _, e := range []string{"https://huggingface.co", "http://127.0.0.1:8701", "http://[::1]:8701/", "HTTPS://hub.example:65535/mirror"} {
		if err := CheckEndpoint(e); err != nil {
			t.Errorf("%s: %v", e, err)
		}
	}
	for given, shown := range map[string]string{
		"localhost:8701": "", "127.0.0.1:8701": "", "http://": "", "http://[::1": "", "htp:/x": "", "ftp://x": "", "/": "", "http://h:": "", "http://:8701": "",
		"http://h:99999": "", "http://h:0": "", "http://h:-1": "", "http://h:port": "", " http://h": "", "http://a b": "", "huggingface.co": "",
		"https://me:secret@h":                "https://…@h",
		"me:secret@h":                        "…@h",
		"https://me:sec/ret@h:1/x?secret=1":  "https://…@h:1/x?…",
		"http://h/#secret":                   "http://h/#…",
		"hf_secret":                          "hf_…",
		"https://me:secret@h\x7f":            `https://…@h\x7f`,
		"http://h?":                          "http://h?…",
		"https://huggingface.co/?t=a@secret": "https://…@secret",
	} {
		env := Endpoint(func(name string) string { return map[string]string{"HF_ENDPOINT": given}[name] })
		err := CheckEndpoint(env)
		if shown == "" {
			shown = given
		}
		if err == nil || !strings.HasPrefix(err.Error(), `HF_ENDPOINT is "`+shown+`", must be http:// or https:// and a host`) {
			t.Errorf("%q: %v", given, err)
		}
		if _, again := New(Options{Endpoint: env}); again == nil || err == nil || again.Error() != err.Error() {
			t.Errorf("%q: New says %v", given, again)
		}
	}
}

// asked asks whose token it is and for the repository: what each says, and how long it waited for it in all.
func asked(t *testing.T, o Options) (errs []*Error, waited time.Duration) {
	t.Helper()
	o.Token = "hf_secret"
	o.Sleep = func(_ context.Context, d time.Duration) error { waited += d; return nil }
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Dataset("a/b")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Whoami(t.Context())
	_, again := r.Info(t.Context(), "main")
	errs = []*Error{asError(t, err), asError(t, again)}
	for _, e := range errs {
		if strings.Contains(e.Error(), "secret") {
			t.Errorf("says %v", e)
		}
	}
	return errs, waited
}

// TestNoHub_Answers: what answers and is no Hub is said to be none, at once.
func TestNoHub_Answers(t *testing.T) {
	t.Parallel()
	const html = "<!DOCTYPE html><html><body>hf_secret</body></html>"
	for name, c := range map[string]struct {
		status int
		kind   string
		body   string
		says   string
	}{
		"a page that is not there":    {404, "text/plain", "404 page not found\n", "(404 Not Found: 404 page not found)"},
		"a Hub without that path":     {404, "application/json", `{"error":"Not Found"}`, `(404 Not Found: {"error":"Not Found"})`},
		"a page":                      {200, "text/html; charset=utf-8", html, "(200 OK: a page of HTML)"},
		"a page that is said to be X": {200, "application/json", " " + html, "(200 OK: a page of HTML)"},
		"a text":                      {200, "text/plain", "hello, hf_secret", "(200 OK: hello, (token))"},
		"nothing":                     {200, "", "", "(200 OK)"},
		"other JSON":                  {200, "application/json", `{"status":"ok"}`, `(200 OK: {"status":"ok"})`},
		"a list":                      {200, "application/json", `[]`, "(200 OK: [])"},
		"a login":                     {401, "text/html", html, "(401 Unauthorized: a page of HTML)"},
		"TLS is wanted":               {400, "", "Client sent an HTTP request to an HTTPS server.", "(400 Bad Request: Client sent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				requests++
				w.Header().Set("Content-Type", c.kind)
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body))
			}))
			defer s.Close()
			errs, waited := asked(t, Options{Endpoint: s.URL + "/sub"})
			for _, e := range errs {
				if !e.NoHub || e.Retryable || !strings.Contains(e.Error(), ": "+s.URL+"/sub does not answer as a Hub does "+c.says) || !strings.HasSuffix(e.Error(), "; check HF_ENDPOINT") {
					t.Errorf("%v", e)
				}
			}
			if requests != 2 || waited != 0 {
				t.Errorf("%d requests in %v", requests, waited)
			}
		})
	}
}

// TestNoHub_Not: what a Hub says, or something in front of it, stays what it is.
func TestNoHub_Not(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		code   string
		body   string
	}{
		"no such repository":      {404, "RepoNotFound", `{"error":"Repository not found"}`},
		"a token of nobody":       {401, "", `{"error":"Invalid credentials in Authorization header"}`},
		"a page of the Hub's own": {403, "GatedRepo", "<html>"},
		"too much":                {429, "", "<html>"},
		"a Hub in trouble":        {502, "", "<html>"},
		"half an answer":          {200, "", `{"name`},
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if c.code != "" {
				w.Header().Set("X-Error-Code", c.code)
			}
			w.WriteHeader(c.status)
			_, _ = w.Write([]byte(c.body))
		}))
		errs, _ := asked(t, Options{Endpoint: s.URL})
		for _, e := range errs {
			if e.NoHub || e.Status != c.status || strings.Contains(e.Error(), "HF_ENDPOINT") {
				t.Errorf("%s: %v", name, e)
			}
		}
		s.Close()
	}
}

// TestNoHub_TLS: a server that does not speak TLS, or whose certificate is nobody's, will not get better.
func TestNoHub_TLS(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	own := httptest.NewUnstartedServer(http.NotFoundHandler())
	own.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes
	own.StartTLS()
	defer own.Close()
	ssh, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ssh.Close()
	go func() {
		for {
			conn, err := ssh.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte("SSH-2.0-OpenSSH_9.6\r\n"))
			_ = conn.Close()
		}
	}()
	for endpoint, says := range map[string]string{
		"https" + strings.TrimPrefix(plain.URL, "http"): "server gave HTTP response to HTTPS client",
		own.URL:                              "certificate",
		"https://" + ssh.Addr().String():     "first record does not look like a TLS handshake",
		"http://" + ssh.Addr().String():      "malformed HTTP",
		strings.Replace(own.URL, "s", "", 1): "400 Bad Request: Client sent an HTTP request to an HTTPS server.",
	} {
		errs, waited := asked(t, Options{Endpoint: endpoint})
		for _, e := range errs {
			if !e.NoHub || e.Retryable || waited != 0 || !strings.Contains(e.Error(), endpoint+" does not answer as a Hub does (") ||
				!strings.Contains(e.Error(), says) || !strings.HasSuffix(e.Error(), "; check HF_ENDPOINT") {
				t.Errorf("%s, waited %v: %v", endpoint, waited, e)
			}
		}
	}
}

// TestNoHub_NothingAnswers: a port may be opened yet, and a name hardly gets to be one.
func TestNoHub_NothingAnswers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := "http://" + l.Addr().String()
	_ = l.Close()
	unknown := &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "hub.nowhere", IsNotFound: true}}
	})}
	for _, c := range []struct {
		o      Options
		at     string
		says   string
		waited time.Duration // by each of two
		advice string
	}{
		{Options{Endpoint: free}, free, "connection refused", 23 * time.Second, "check HF_ENDPOINT"},
		{Options{Endpoint: "http://hub.nowhere", HTTP: unknown}, "http://hub.nowhere", "lookup hub.nowhere: no such host", 3 * time.Second, "check HF_ENDPOINT"},
		{Options{HTTP: unknown}, "https://huggingface.co", "no such host", 3 * time.Second, "check the network, and HTTPS_PROXY"},
	} {
		errs, waited := asked(t, c.o)
		for _, e := range errs {
			if !e.NoHub || !e.Retryable || e.Lost || !strings.Contains(e.Error(), ": nothing answers at "+c.at+" (") || !strings.Contains(e.Error(), c.says) || !strings.HasSuffix(e.Error(), "; "+c.advice) {
				t.Errorf("%s: %v", c.at, e)
			}
		}
		if waited != 2*c.waited {
			t.Errorf("%s: waited %v, want twice %v", c.at, waited, c.waited)
		}
	}
}

// TestNoHub_Elsewhere: storage that cannot be reached says nothing of the endpoint, and a lost request is to be asked for first.
func TestNoHub_Elsewhere(t *testing.T) {
	t.Parallel()
	c, err := New(Options{Endpoint: "http://127.0.0.1:8701"})
	if err != nil {
		t.Fatal(err)
	}
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	for name, e := range map[string]*Error{
		"storage":     c.failed(&call{}, false, &url.Error{URL: "http://127.0.0.1:8702/x", Err: refused}),
		"lost":        c.failed(&call{once: true}, true, &url.Error{URL: "http://127.0.0.1:8701/x", Err: refused}),
		"cancelled":   c.failed(&call{}, true, context.Canceled),
		"a proxy":     c.failed(&call{}, false, &url.Error{URL: "http://127.0.0.1:8701/x", Err: &net.OpError{Op: "proxyconnect", Err: refused}}),
		"storage TLS": c.failed(&call{}, false, &url.Error{URL: "https://127.0.0.1:8702/x", Err: fmt.Errorf("%w", tls.RecordHeaderError{})}),
	} {
		if e.NoHub {
			t.Errorf("%s: %v", name, e)
		}
	}
}
