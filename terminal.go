package main

import (
	"io"
	"os"

	"github.com/mattn/go-isatty"
)

// isTerminal reports whether w is a terminal, or writes to one: there the output may move and have colours; elsewhere it is plain lines.
func isTerminal(w io.Writer) bool {
	for {
		below, ok := w.(interface{ Unwrap() io.Writer })
		if !ok {
			break
		}
		w = below.Unwrap()
	}
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
