package tail

import (
	"context"
	"errors"
	"sync/atomic"
)

// start tells what the engine dumped before it served from what it dumped while serving.
type start struct {
	warm  bool          // Run's goroutine's alone: the engine has not begun to serve
	asked atomic.Bool   // Begin was called
	begun chan struct{} // closed when all that was there when Begin was called is known
	over  chan struct{} // closed when Run ends
}

func (s *start) init(warm bool) {
	s.warm, s.begun, s.over = warm, make(chan struct{}), make(chan struct{})
	if !warm {
		close(s.begun)
	}
}

// listed ends the time before traffic, once a listing is done that began after Begin was called.
func (s *start) listed() {
	s.warm = false
	close(s.begun)
}

func (s *start) end() { close(s.over) }

// Begin says that the engine has done all of its own calls and serves the first request next. It returns when every dump and
// replay that was there when it was called is known, and so told apart from what comes: those never become workloads, and the
// plans among them serve no run. An engine that ends without it had no traffic. It is nil at once without Options.Warmup, and
// when it was called before; the error is ctx's, or says that Run ended. Any goroutine may call it.
func (t *Tailer) Begin(ctx context.Context) error {
	t.start.asked.Store(true)
	select {
	case t.room.kick <- struct{}{}:
	default: // a look is due already
	}
	select {
	case <-t.start.begun:
		return nil
	default:
	}
	select {
	case <-t.start.begun:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.start.over:
		return errors.New("begin serving: the dump directory is not watched any more")
	}
}

// Spent reports that every process which dumps has made as many dumps as it may, so that nothing more can come: those that
// made one since Begin, or all that ever did where none has. FlashInfer counts in each process, over all functions, and what
// came before traffic counts too. Any goroutine may call it, often; it is as of the latest listing.
func (t *Tailer) Spent() bool { return t.spent.Load() }

// reckon works out Spent.
func (t *Tailer) reckon() {
	if t.opt.Budget <= 0 || t.start.warm {
		return
	}
	serving := false
	for _, p := range t.processes {
		serving = serving || p.serving
	}
	some, all := false, true
	for _, p := range t.processes {
		if p.dumped > 0 && (p.serving || !serving) {
			some, all = true, all && p.dumped >= t.opt.Budget
		}
	}
	t.spent.Store(some && all)
}
