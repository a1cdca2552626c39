package cli

import (
	"fmt"
	"io"
	"sync"
)

// Output is the standard output of a command. It keeps the first error of a write, so that a command that prints through code which
// ignores errors (tables, help) still fails at its end. It is safe for concurrent use.
type Output struct {
	to io.Writer

	mu  sync.Mutex
	err error
}

// NewOutput returns an Output that writes to w.
func NewOutput(w io.Writer) *Output { return &Output{to: w} }

// Write writes p. After a failed write it writes nothing more and returns the same error.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	o.err = err
	return n, err
}

// Err returns the first error of a write, nil if all output was written.
func (o *Output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		return nil
	}
	return fmt.Errorf("write standard output: %w; free space there, or redirect it to another file", o.err)
}
