package cli

import (
	"errors"
	"fmt"
)

// Exit codes are part of the interface: scripts and agents branch on them.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2 // nothing was started
	ExitNothing     = 3 // the run went well and collected nothing
	ExitGate        = 4 // the evaluation gate refused
	ExitInterrupted = 5 // stopped on request; the same command resumes
)

// ExitError carries an exit code up to main. Err may be nil where everything worth saying was printed.
type ExitError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap gives the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// Usagef makes a usage error.
func Usagef(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// ExitCode gives the code for err: 0 for nil, the carried one, else ExitFailed.
func ExitCode(err error) int {
	var exit *ExitError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &exit):
		return exit.Code
	}
	return ExitFailed
}
