package hubtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
)

// underway gives the multipart upload that a request is of.
func (h *hub) underway(q *request) (*upload, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	u := h.uploads[q.PathValue("oid")]
	if u == nil || u.id != q.URL.Query().Get("uploadId") {
		return nil, storageError(http.StatusNotFound, "NoSuchUpload", "The specified upload does not exist.")
	}
	return u, nil
}

// count is how many parts there are.
func (u *upload) count() int64 { return (u.size + u.chunk - 1) / u.chunk }

func (h *hub) putPart(q *request) (any, error) {
	u, err := h.underway(q)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(q.PathValue("part"))
	if err != nil || n < 1 || int64(n) > u.count() {
		return nil, storageError(http.StatusBadRequest, "InvalidArgument", "no part number")
	}
	name, _, etag, err := h.receive(q, min(u.chunk, u.size-int64(n-1)*u.chunk))
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	u.parts[n], u.etags[n] = name, etag
	h.mu.Unlock()
	q.w.Header().Set("ETag", etag)
	return nil, nil
}

func (h *hub) lfsComplete(q *request) (any, error) {
	path := q.URL.EscapedPath() + "?uploadId=" + q.URL.Query().Get("uploadId")
	if !hmac.Equal([]byte(q.URL.Query().Get("sig")), []byte(h.mac(path, 0))) {
		return nil, refused(http.StatusForbidden, "Invalid signature")
	}
	if q.Header.Get("Authorization") != "" {
		h.note("a multipart upload was completed with the token, which the official client does not send")
	}
	u, err := h.underway(q)
	if err != nil {
		return nil, err
	}
	var body struct {
		OID   string `json:"oid"`
		Parts []struct {
			Number int    `json:"partNumber"`
			ETag   string `json:"etag"`
		} `json:"parts"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	oid := q.PathValue("oid")
	h.mu.Lock()
	wrong := body.OID != oid || int64(len(body.Parts)) != u.count()
	for i, p := range body.Parts {
		wrong = wrong || p.Number != i+1 || p.ETag == "" || p.ETag != u.etags[p.Number]
	}
	h.mu.Unlock()
	if wrong {
		h.note("object %s was completed with parts that are not those sent", oid)
		return nil, refused(http.StatusBadRequest, "InvalidPart")
	}
	name, digest, err := h.join(u, len(body.Parts))
	if err != nil {
		return nil, err
	}
	if err := h.keep(name, digest, oid); err != nil {
		return nil, err
	}
	h.mu.Lock()
	delete(h.uploads, oid)
	h.mu.Unlock()
	return map[string]any{"success": true}, nil
}

// join writes the parts into one file.
func (h *hub) join(u *upload, count int) (name, digest string, err error) {
	f, err := h.store.temp()
	if err != nil {
		return "", "", err
	}
	content := sha256.New()
	for n := 1; n <= count && err == nil; n++ {
		err = appendFile(io.MultiWriter(f, content), u.parts[n])
	}
	return f.Name(), hex.EncodeToString(content.Sum(nil)), errors.Join(err, f.Close())
}

func appendFile(w io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func (h *hub) lfsVerify(q *request) (any, error) {
	var body struct {
		OID  string `json:"oid"`
		Size int64  `json:"size"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	if !isHex(body.OID, 64) || h.store.size(lfsDir, body.OID) != body.Size {
		h.note("object %s is verified and is not there", body.OID)
		return nil, notFound("", "Object does not exist")
	}
	return map[string]any{"success": true}, nil
}
