package proc

import (
	"fmt"
	"syscall"
)

// Exit is how a child ended.
type Exit struct {
	Code      int            `json:"code"`             // status of the main process; -1: it was ended by Signal, or is not known
	Signal    syscall.Signal `json:"signal,omitempty"` // that ended the main process; 0: none
	Asked     bool           `json:"-"`                // Stop was called before it had ended
	Killed    int            `json:"-"`                // processes that had to be killed
	Lost      bool           `json:"-"`                // the supervisor was killed: how the main process ended is not known
	Survivors []int          `json:"-"`                // processes that did not vanish when killed
}

// Clean reports an end of the child's own will, without error.
func (e Exit) Clean() bool { return e.Code == 0 && e.Signal == 0 && !e.Lost }

// String tells it in words: "exit status 2", "killed by signal 9 (killed)".
func (e Exit) String() string {
	switch {
	case e.Lost:
		return "its supervisor was killed"
	case e.Signal != 0:
		return fmt.Sprintf("ended by signal %d (%s)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("exit status %d", e.Code)
}
