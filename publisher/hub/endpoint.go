package hub

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	publicEndpoint  = "https://huggingface.co"
	stagingEndpoint = "https://hub-ci.huggingface.co"
)

// Endpoint gives the base URL that the environment asks for, as the official client reads it: HF_ENDPOINT, or the staging Hub
// where HUGGINGFACE_CO_STAGING is true, or the public one. It may be none at all; see CheckEndpoint.
func Endpoint(getenv func(string) string) string {
	if isTrue(getenv("HUGGINGFACE_CO_STAGING")) {
		return stagingEndpoint
	}
	given := getenv("HF_ENDPOINT")
	if given == "" {
		return publicEndpoint
	}
	if e := strings.TrimRight(given, "/"); e != "" && !strings.HasSuffix(e, ":") {
		return e
	}
	return given // as it was given, for who says what is wrong with it
}

// CheckEndpoint says in a plain error what is wrong with a base URL as Endpoint gives it. New checks it too; who looks at the URL before
// there is a client, such as for whether it is on loopback, asks here first. Nothing is sent.
func CheckEndpoint(endpoint string) error {
	_, err := parseEndpoint(endpoint)
	return err
}

func parseEndpoint(endpoint string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(endpoint, "/"))
	if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && hasPort(u) &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" {
		return u, nil
	}
	return nil, fmt.Errorf("HF_ENDPOINT is %q, must be http:// or https:// and a host, such as %s or http://127.0.0.1:8765", masked(endpoint), publicEndpoint)
}

// hasPort reports whether the port is one, or left out.
func hasPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	n, err := strconv.Atoi(u.Port())
	return err == nil && n >= 1 && n <= 65535
}

// masked leaves out what may be a secret of a value that is no endpoint: a user's password, a query, or a token in the wrong variable.
func masked(value string) string {
	if strings.HasPrefix(value, "hf_") {
		return "hf_…"
	}
	if at := strings.LastIndexByte(value, '@'); at >= 0 {
		scheme, _, ok := strings.Cut(value[:at], "://")
		if ok {
			scheme += "://"
		} else {
			scheme = ""
		}
		value = scheme + "…" + value[at:]
	}
	if i := strings.IndexAny(value, "?#"); i >= 0 {
		value = value[:i+1] + "…"
	}
	return value
}

// briefly is how often is asked again what will hardly get better.
const briefly = 2

// unreached says of a request without an answer that no Hub is at the endpoint, where err tells, and whether asking again may help.
func (c *Client) unreached(e *Error, cl *call, err error) {
	var last *url.Error // of the last redirect, which may have been to storage
	if !errors.As(err, &last) || e.Lost {
		return
	}
	if u, err := url.Parse(last.URL); err != nil || !sameOrigin(u, c.endpoint) {
		return
	}
	var (
		op   *net.OpError
		name *net.DNSError
		rec  tls.RecordHeaderError
		cert *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &op) && op.Op == "dial":
		c.noHub(e, "nothing answers at %s (%v)", display(c.endpoint), e.Err)
		if errors.As(err, &name) && name.IsNotFound {
			e.retries = briefly
		}
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &rec), errors.As(err, &cert),
		cl.hub != nil && strings.Contains(err.Error(), "malformed HTTP"): // net/http has no type for it
		c.noHub(e, "%s does not answer as a Hub does (%v)", display(c.endpoint), e.Err)
		e.Retryable = false
	}
}

func (c *Client) noHub(e *Error, format string, args ...any) {
	e.NoHub = true
	advice := "check HF_ENDPOINT"
	if c.endpoint.String() == publicEndpoint { // which nobody set
		advice = "check the network, and HTTPS_PROXY"
	}
	e.why = c.redact(fmt.Sprintf(format, args...)) + "; " + advice
}

// foreign is an answer that no Hub gives.
type foreign struct{ said string }

func (f *foreign) Error() string { return "it is no Hub's: " + f.said }

// refusedByHub reports whether a refusal of what every Hub answers is one that a Hub makes: with a code, or in JSON. What a Hub does not
// have it names with a code.
func refusedByHub(resp *http.Response, body []byte) bool {
	switch status := resp.StatusCode; {
	case status/100 != 4, status == http.StatusRequestTimeout, status == http.StatusTooManyRequests: // of whatever is in front of it
		return true
	case resp.Header.Get("X-Error-Code") != "" || resp.Header.Get("X-Error-Message") != "":
		return true
	default:
		return status != http.StatusNotFound && isObject(body) && json.Valid(body)
	}
}

func isObject(body []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) }

// said gives an answer in a few words.
func said(resp *http.Response, body []byte) string {
	status := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<")) {
		return status + ": a page of HTML"
	}
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(body), "")), " ")
	if len(text) > 100 {
		text = strings.ToValidUTF8(text[:100], "") + "…"
	}
	if text == "" {
		return status
	}
	return status + ": " + text
}
