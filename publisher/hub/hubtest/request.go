package hubtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// The largest bodies, in bytes. A commit may be as large as the Hub's documentation has it.
const (
	mostJSON   = 8 << 20
	mostCommit = 1 << 30
)

// request is a request whose sender is known.
type request struct {
	*http.Request
	w    http.ResponseWriter
	kind Kind
	user *User // nil: anonymous
}

// refusal is an answer that is no success.
type refusal struct {
	status  int
	code    string // X-Error-Code
	message string
	header  http.Header
	xml     bool // storage's form
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.message) }

func refused(status int, format string, args ...any) error {
	return &refusal{status: status, message: fmt.Sprintf(format, args...)}
}

func notFound(code, message string) error {
	return &refusal{status: http.StatusNotFound, code: code, message: message}
}

func storageError(status int, code, message string) error {
	return &refusal{status: status, code: code, message: message, xml: true}
}

func tooLarge(most int64) error {
	return refused(http.StatusRequestEntityTooLarge, "Payload Too Large: at most %d bytes", most)
}

// badBody is the answer to a body that cannot be read.
func badBody(err error) error {
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return tooLarge(over.Limit)
	}
	return refused(http.StatusBadRequest, "the body cannot be read: %v", err)
}

// number gives a number of the query, and otherwise where the query has none.
func (q *request) number(name string, least, otherwise int) (int, error) {
	text := q.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil || int(n) < least {
		return 0, refused(http.StatusBadRequest, "%s is %q, must be a whole number from %d", name, text, least)
	}
	return int(n), nil
}

// isHex reports whether text is a digest of n digits. What is none must name no file of the store.
func isHex(text string, n int) bool {
	return len(text) == n && strings.Trim(text, "0123456789abcdef") == ""
}

func (h *hub) refuse(q *request, err error) {
	var r *refusal
	if !errors.As(err, &r) {
		h.note("%s %s: %v", q.Method, q.URL.Path, err)
		r = &refusal{status: http.StatusInternalServerError, message: err.Error()}
	}
	for k, v := range r.header {
		q.w.Header()[k] = v
	}
	if r.xml {
		q.w.Header().Set("Content-Type", "application/xml")
		q.w.WriteHeader(r.status)
		fmt.Fprintf(q.w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", r.code, r.message)
		return
	}
	q.w.Header().Set("X-Error-Message", r.message)
	if r.code != "" {
		q.w.Header().Set("X-Error-Code", r.code)
	}
	if q.kind == Page && (q.Method == http.MethodGet || q.Method == http.MethodHead) {
		if h.page(q, r.status, "error", fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)), r.message) == nil {
			return
		}
	}
	writeJSON(q.w, r.status, map[string]any{"error": r.message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"error":"no JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(data)
}

// admit finds out who asks, and whether there is a limit for it.
func (h *hub) admit(rt route, q *request) error {
	if rt.kind == PutObject || rt.kind == PutPart || rt.kind == GetObject {
		if q.Header.Get("Authorization") != "" {
			h.note("%s %s: the token was sent to storage", q.Method, q.URL.Path)
			return storageError(http.StatusBadRequest, "InvalidArgument", "Only one auth mechanism allowed")
		}
		return h.signed(q)
	}
	if err := h.limit(q); err != nil {
		return err
	}
	token, given := strings.CutPrefix(q.Header.Get("Authorization"), "Bearer ")
	if given {
		for i := range h.o.Users {
			if h.o.Users[i].Token == token {
				q.user = &h.o.Users[i]
			}
		}
		if q.user == nil {
			return refused(http.StatusUnauthorized, "Invalid credentials in Authorization header")
		}
	}
	writes := q.Method == http.MethodPost && rt.kind != PathsInfo
	switch {
	case rt.open:
	case q.user == nil && (h.o.Private || writes || rt.kind == Whoami):
		return refused(http.StatusUnauthorized, "Invalid username or password.")
	case writes && q.user.Role == "read":
		return refused(http.StatusForbidden, "Forbidden: you must use a write token to upload to a repository.")
	}
	if q.Method == http.MethodPost && q.ContentLength < 0 {
		h.note("%s %s: a body without Content-Length", q.Method, q.URL.Path)
	}
	most := int64(mostJSON)
	if rt.kind == MakeCommit {
		most = mostCommit
	}
	if q.ContentLength > most {
		return tooLarge(most)
	}
	q.Body = http.MaxBytesReader(q.w, q.Body, most)
	return nil
}

// read decodes a body of JSON. A field that is not known is none that the Hub takes.
func (h *hub) read(q *request, v any) error {
	data, err := io.ReadAll(q.Body)
	if err != nil {
		return badBody(err)
	}
	if err := strict(data, v); err != nil {
		h.note("%s %s: %v", q.Method, q.URL.Path, err)
		return refused(http.StatusUnprocessableEntity, "%v", err)
	}
	return nil
}

func strict(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more than one value")
	}
	return nil
}

func sha256Hex(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
