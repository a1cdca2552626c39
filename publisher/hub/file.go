package hub

import (
	"bytes"
	"crypto/sha1" // git's object ids
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"strings"
)

// ErrChanged says that a file's content is no longer what its File says. What was sent of it is of no effect.
var ErrChanged = errors.New("the file changed after its digest was taken; make its hub.File again")

// File is a file to add: where it goes in the repository, and its content.
type File struct {
	Path    string // in the repository, slash-separated
	Size    int64
	SHA256  string // of the content, lower-case hex; how the Hub knows large files
	GitSHA1 string // git's blob id, lower-case hex; how the Hub knows other files
	// Open gives the content from its start. It may be called several times, and at the same time.
	Open func() (io.ReadCloser, error)
}

// FileOf gives a file with the given content.
func FileOf(path string, data []byte) File {
	f, _ := fileFrom(path, int64(len(data)), func() (io.ReadCloser, error) { return memory{bytes.NewReader(data)}, nil })
	return f
}

// memory is content at hand; unlike io.NopCloser it keeps Seek.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// FileAt gives a file with the content of a file on disk, which it reads once for its digests.
func FileAt(path, name string) (File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s is no regular file", name)
	}
	f, err := fileFrom(path, info.Size(), func() (io.ReadCloser, error) { return os.Open(name) })
	if err != nil {
		return File{}, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func fileFrom(path string, size int64, open func() (io.ReadCloser, error)) (File, error) {
	rc, err := open()
	if err != nil {
		return File{}, err
	}
	defer rc.Close()
	content, git := sha256.New(), gitHash(size)
	n, err := io.Copy(io.MultiWriter(content, git), rc)
	if err != nil {
		return File{}, err
	}
	if n != size {
		return File{}, ErrChanged
	}
	return File{Path: path, Size: size, SHA256: hexSum(content), GitSHA1: hexSum(git), Open: open}, nil
}

// gitHash starts the hash that is the id of a git blob of the given size.
func gitHash(size int64) hash.Hash {
	h := sha1.New() // git's object ids
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// is reports whether an object id of the Hub is that of f's content: a git blob id, or the SHA-256 of a large file.
func (f *File) is(oid string) bool {
	return oid != "" && (oid == f.SHA256 || oid == f.GitSHA1)
}

// sample gives the first bytes of the content, by which the Hub tells text from binary.
func (f *File) sample() ([]byte, error) {
	rc, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, sampleSize))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != min(f.Size, sampleSize) {
		return nil, ErrChanged
	}
	return data, nil
}

// longestPath is the longest path of a large file, in bytes.
const longestPath = 1000

// check refuses what the Hub would refuse, or would take for another path.
func (f *File) check() error {
	bad := func(why string) error { return fmt.Errorf("path %q in the repository %s", f.Path, why) }
	switch {
	case f.Path == "" || len(f.Path) > longestPath:
		return bad(fmt.Sprintf("must have 1 to %d bytes", longestPath))
	case strings.ContainsFunc(f.Path, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == '\uFFFD' }):
		return bad("must have no control character, no backslash and only UTF-8")
	}
	for _, part := range strings.Split(f.Path, "/") {
		switch part {
		case "", ".", "..", ".git", ".cache":
			return bad(fmt.Sprintf("must have no part %q", part))
		}
	}
	if f.Open == nil || f.Size < 0 || len(f.SHA256) != 2*sha256.Size || len(f.GitSHA1) != 2*sha1.Size {
		return fmt.Errorf("%s: no content or digests; make it by FileOf or FileAt", f.Path)
	}
	return nil
}

// checkFiles checks each file, and that no path comes twice: what the Hub does then is not defined.
func checkFiles(files []File) error {
	seen := make(map[string]bool, len(files))
	for i := range files {
		if err := files[i].check(); err != nil {
			return err
		}
		if seen[files[i].Path] {
			return fmt.Errorf("path %q in the repository comes twice", files[i].Path)
		}
		seen[files[i].Path] = true
	}
	return nil
}

// content opens f for sending. The reader holds back the last bytes until it knows that all of them are those of the digests:
// a request whose content changed is never complete, and so has no effect.
func (f *File) content() (io.ReadCloser, error) {
	rc, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return &checked{rc: rc, name: f.Path, left: f.Size, hash: sha256.New(), want: f.SHA256}, nil
}

type checked struct {
	rc   io.ReadCloser
	name string
	left int64
	hash hash.Hash
	want string
	done bool // all of it was checked
}

func (c *checked) Read(p []byte) (int, error) {
	if c.done {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.rc.Read(p)
	c.hash.Write(p[:n])
	c.left -= int64(n)
	switch {
	case c.left == 0 && (hexSum(c.hash) != c.want || c.more()):
		return 0, fmt.Errorf("%s: %w", c.name, ErrChanged)
	case c.left == 0:
		c.done = true
		return n, nil
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		return 0, fmt.Errorf("%s: %w", c.name, ErrChanged)
	}
	return n, fmt.Errorf("%s: %w", c.name, err)
}

// more reports whether the content goes on where it should have ended.
func (c *checked) more() bool {
	n, _ := io.ReadFull(c.rc, make([]byte, 1))
	return n > 0
}

func (c *checked) Close() error { return c.rc.Close() }
