package safetensors

import (
	"fmt"
	"strings"
)

// FormatError says what in a file is not safetensors.
type FormatError struct {
	File   string // path, "" where only a reader is known
	Tensor string // "" where the fault is not of one tensor
	Field  string // header_length, header, dtype, shape, data_offsets, name, __metadata__ or file_size
	Value  string // what was found, shortened
	Reason string // why it is wrong
}

// Error names file, tensor, field, value and reason.
func (e *FormatError) Error() string {
	var b strings.Builder
	b.WriteString("safetensors")
	if e.File != "" {
		b.WriteString(" " + e.File)
	}
	if e.Tensor != "" {
		fmt.Fprintf(&b, ": tensor %q", e.Tensor)
	}
	b.WriteString(": " + e.Field)
	if e.Value != "" {
		b.WriteString(" " + e.Value)
	}
	b.WriteString(": " + e.Reason)
	return b.String()
}

// shorten keeps what an error quotes from a hostile file readable.
func shorten(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
