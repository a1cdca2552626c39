package hub

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// commitHeader is the first line of a commit's body.
type commitHeader struct {
	Summary     string `json:"summary"`
	Description string `json:"description"`
	Parent      string `json:"parentCommit"`
}

// line is a line of a commit's body: text, or the content of a file between two texts.
type line struct {
	before, after []byte
	file          *File
}

// commitBody gives the body of a commit, a line of JSON for the header and for each file. It is made while it is read, so that
// of a large commit only a piece is in memory; its length is known before.
func commitBody(header commitHeader, files []File, modes map[string]Mode) (*body, error) {
	first, err := json.Marshal(map[string]any{"key": "header", "value": header})
	if err != nil {
		return nil, err
	}
	lines := []line{{before: append(first, '\n')}}
	for i := range files {
		l, err := fileLine(&files[i], modes[files[i].Path].LFS)
		if err != nil {
			return nil, err
		}
		lines = append(lines, l)
	}
	var size int64
	for _, l := range lines {
		size += int64(len(l.before) + len(l.after))
		if l.file != nil {
			size += (l.file.Size + 2) / 3 * 4
		}
	}
	return &body{size: size, open: func() (io.ReadCloser, error) { return &commitReader{lines: lines}, nil }}, nil
}

func fileLine(f *File, large bool) (line, error) {
	path, err := json.Marshal(f.Path)
	if err != nil {
		return line{}, err
	}
	if large {
		text := fmt.Sprintf(`{"key":"lfsFile","value":{"path":%s,"algo":"sha256","oid":"%s","size":%d}}`, path, f.SHA256, f.Size)
		return line{before: []byte(text + "\n")}, nil
	}
	before := fmt.Sprintf(`{"key":"file","value":{"path":%s,"encoding":"base64","content":"`, path)
	return line{before: []byte(before), file: f, after: []byte("\"}}\n")}, nil
}

// commitReader reads the lines.
type commitReader struct {
	lines   []line
	out     []byte // made and not read yet
	content io.ReadCloser
	raw     []byte
	encoded []byte
}

// pieceSize is how much of a file is encoded at a time; a multiple of 3, so that no padding comes before the end.
const pieceSize = 48 << 10

func (c *commitReader) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if len(c.lines) == 0 {
			return 0, io.EOF
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// fill makes the next piece: the text before, a piece of the content, or the text after.
func (c *commitReader) fill() error {
	l := &c.lines[0]
	if l.file == nil {
		c.out, c.lines = l.before, c.lines[1:]
		return nil
	}
	if c.content == nil {
		rc, err := l.file.content()
		if err != nil {
			return err
		}
		c.out, c.content = l.before, rc
		return nil
	}
	if c.raw == nil {
		c.raw, c.encoded = make([]byte, pieceSize), make([]byte, base64.StdEncoding.EncodedLen(pieceSize))
	}
	n, err := io.ReadFull(c.content, c.raw)
	if n > 0 {
		size := base64.StdEncoding.EncodedLen(n)
		base64.StdEncoding.Encode(c.encoded[:size], c.raw[:n])
		c.out = c.encoded[:size]
	}
	switch {
	case err == nil, errors.Is(err, io.ErrUnexpectedEOF) && n > 0:
		return nil
	case errors.Is(err, io.EOF):
		c.out, c.lines = l.after, c.lines[1:]
		return c.shut()
	}
	return err
}

func (c *commitReader) shut() error {
	if c.content == nil {
		return nil
	}
	err := c.content.Close()
	c.content = nil
	return err
}

// Close lets go of the file that is being read.
func (c *commitReader) Close() error { return c.shut() }
