package hubtest

import (
	"crypto/hmac"
	"crypto/md5" // as storage makes its ETags
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

const lfsType = "application/vnd.git-lfs+json"

const (
	mostObjects = 1000   // in a batch
	mostParts   = 10_000 // of an object, as in S3
)

// upload is a multipart upload that was not completed.
type upload struct {
	id    string
	size  int64
	chunk int64
	parts map[int]string // number → name of the file with it, in tempDir
	etags map[int]string
}

func (h *hub) lfsBatch(q *request) (any, error) {
	if q.Header.Get("Accept") != lfsType || !strings.HasPrefix(q.Header.Get("Content-Type"), lfsType) {
		return nil, refused(http.StatusNotAcceptable, "Accept and Content-Type must be %s", lfsType)
	}
	var body struct {
		Operation string   `json:"operation"`
		Transfers []string `json:"transfers"`
		HashAlgo  string   `json:"hash_algo"`
		Objects   []struct {
			OID  string `json:"oid"`
			Size int64  `json:"size"`
		} `json:"objects"`
		Ref *struct {
			Name string `json:"name"`
		} `json:"ref"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	if len(body.Objects) > mostObjects {
		return nil, refused(http.StatusRequestEntityTooLarge, "objects: at most %d", mostObjects)
	}
	if body.Operation != "upload" || body.HashAlgo != "sha256" {
		return nil, refused(http.StatusUnprocessableEntity, "operation %q of hash_algo %q", body.Operation, body.HashAlgo)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if body.Ref != nil && !q.user.Writer {
		// The Hub asks for the right to write to the ref that is named. Whether a pull request's author has it is not known, so
		// it is safe not to name it. The official client does.
		h.violate("LFS batch: ref %s is named by %s, who may not write to the repository", body.Ref.Name, q.user.Name)
		if d := h.ofRef(body.Ref.Name); !h.o.Lenient || d == nil || d.Author != q.user.Name {
			return nil, refused(http.StatusForbidden, "Forbidden: you don't have write access to %s", body.Ref.Name)
		}
	}
	var objects []map[string]any
	for _, o := range body.Objects {
		it := map[string]any{"oid": o.OID, "size": o.Size}
		switch {
		case !isHex(o.OID, 64) || o.Size <= 0 || h.o.ChunkSize > 0 && o.Size/h.o.ChunkSize >= mostParts:
			h.violate("LFS batch: object %q of %d bytes", o.OID, o.Size)
			it["error"] = map[string]any{"code": http.StatusUnprocessableEntity, "message": "Invalid object"}
		case !h.store.has(lfsDir, o.OID):
			it["actions"] = h.actions(o.OID, o.Size)
		}
		objects = append(objects, it)
	}
	return map[string]any{"transfer": "basic", "objects": objects}, nil
}

// actions says where an object is to be sent. The caller holds mu.
func (h *hub) actions(oid string, size int64) map[string]any {
	up := map[string]any{"href": h.sign(h.storage(), fmt.Sprintf("/objects/%s?size=%d", oid, size))}
	if h.o.ChunkSize > 0 && size > h.o.ChunkSize {
		u := h.uploads[oid]
		if u == nil {
			u = &upload{id: sha256Hex(fmt.Appendf(nil, "%s %d %d", oid, h.requests, h.epoch))[:16], size: size, chunk: h.o.ChunkSize,
				parts: map[int]string{}, etags: map[int]string{}}
			h.uploads[oid] = u
		}
		header := map[string]string{"chunk_size": strconv.FormatInt(u.chunk, 10)}
		for n := 1; int64(n-1)*u.chunk < size; n++ {
			header[fmt.Sprintf("%05d", n)] = h.sign(h.storage(), fmt.Sprintf("/parts/%s/%d?uploadId=%s", oid, n, u.id))
		}
		// The completion's address stays the same for the same upload, as its parts do.
		path := fmt.Sprintf("/datasets/%s.git/info/lfs/complete/%s?uploadId=%s", h.o.Repo, oid, u.id)
		up = map[string]any{"href": h.base() + path + "&sig=" + h.mac(path, 0), "header": header}
	}
	actions := map[string]any{"upload": up}
	if h.o.Verify {
		actions["verify"] = map[string]any{"href": fmt.Sprintf("%s/datasets/%s.git/info/lfs/verify", h.base(), h.o.Repo)}
	}
	return actions
}

func (h *hub) mac(path string, epoch int) string {
	m := hmac.New(sha256.New, []byte(h.secret))
	fmt.Fprintf(m, "%s %d", path, epoch)
	return hex.EncodeToString(m.Sum(nil))
}

// sign gives a URL of storage that needs no token.
func (h *hub) sign(origin, path string) string {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return origin + path + sep + "X-Amz-Expires=900&X-Amz-Signature=" + h.mac(path, h.epoch)
}

// signed checks such a URL.
func (h *hub) signed(q *request) error {
	raw := q.URL.RequestURI()
	i := strings.Index(raw, "X-Amz-Expires=")
	h.mu.Lock()
	defer h.mu.Unlock()
	if i < 1 || !hmac.Equal([]byte(q.URL.Query().Get("X-Amz-Signature")), []byte(h.mac(raw[:i-1], h.epoch))) {
		return storageError(http.StatusForbidden, "AccessDenied", "Request has expired")
	}
	return nil
}

// receive stores a body in a file of its own, and counts what comes.
func (h *hub) receive(q *request, size int64) (name, digest, etag string, err error) {
	if q.ContentLength != size {
		h.note("%s: %d bytes announced, %d expected", q.URL.Path, q.ContentLength, size)
		return "", "", "", storageError(http.StatusLengthRequired, "MissingContentLength", "You must provide the Content-Length HTTP header.")
	}
	f, err := h.store.temp()
	if err != nil {
		return "", "", "", err
	}
	content, sum := sha256.New(), md5.New() // as storage makes its ETags
	_, err = io.Copy(io.MultiWriter(f, content, sum, &counter{h, q.PathValue("oid")}), q.Body)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", "", "", storageError(http.StatusBadRequest, "IncompleteBody", err.Error())
	}
	return f.Name(), hex.EncodeToString(content.Sum(nil)), `"` + hex.EncodeToString(sum.Sum(nil)) + `"`, nil
}

type counter struct {
	h   *hub
	oid string
}

func (c *counter) Write(p []byte) (int, error) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.h.received[c.oid] += int64(len(p))
	return len(p), nil
}

// keep makes a received file the object of that id.
func (h *hub) keep(name, digest, oid string) error {
	if digest != oid {
		_ = os.Remove(name)
		h.note("object %s was sent with the content of %s", oid, digest)
		return storageError(http.StatusBadRequest, "BadDigest", "The content is not that of the object")
	}
	return os.Rename(name, h.store.path(lfsDir, oid))
}

func (h *hub) putObject(q *request) (any, error) {
	size, err := strconv.ParseInt(q.URL.Query().Get("size"), 10, 64)
	if err != nil || size < 0 {
		return nil, storageError(http.StatusBadRequest, "InvalidArgument", "no size")
	}
	oid := q.PathValue("oid")
	name, digest, etag, err := h.receive(q, size)
	if err != nil {
		return nil, err
	}
	if err := h.keep(name, digest, oid); err != nil {
		return nil, err
	}
	q.w.Header().Set("ETag", etag)
	return nil, nil
}

func (h *hub) getObject(q *request) (any, error) {
	oid := q.PathValue("oid")
	if !h.store.has(lfsDir, oid) {
		return nil, storageError(http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
	}
	q.w.Header().Set("ETag", `"`+oid+`"`)
	q.w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeFile(q.w, q.Request, h.store.path(lfsDir, oid))
	return nil, nil
}
