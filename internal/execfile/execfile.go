// Package execfile writes programs that tests run at once.
//
// A program that is open for writing cannot be executed ("text file busy"), and between fork and exec every child of this process
// holds what is open here, whoever started it. So a file is written while no fork is under way.
package execfile

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Write writes an executable file, and its directory.
func Write(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
