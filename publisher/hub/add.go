package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

const (
	mostOps     = 500      // operations in a commit
	mostContent = 64 << 20 // bytes of files that are sent within a commit
	// busyTries is how often a commit is tried while the repository is busy with another one: some five minutes.
	busyTries = 40
)

// Add is what to add to a revision.
type Add struct {
	Summary     string // first line of the commit message, required
	Description string // the rest of it
	// Parent is the commit that the caller has read, 40 hex digits. Where the revision has another head and lacks any of Files,
	// Add fails with Error.Conflict. "" takes the head as it is.
	Parent string
	// Files replace what is at their paths; a file with the content that is there already is left out.
	Files []File
}

// Added is what came of an Add. After an error it says what was done before.
type Added struct {
	Head    string // of the revision, 40 hex digits
	Commits int
	Uploaded
}

// Add adds files to rev: it asks how to send them, sends the large ones to storage, and commits. It may be repeated after any
// error, and does then what is left to do.
//
// A commit has at most 500 files, fewer where the Hub refuses the size or takes too long, and names the one before as its parent;
// the second has "(part 2)" in its summary, and so on. Where the answer to a commit is lost, Add asks for the files at rev: only
// while the head is still the parent does it commit again, so that what was done late is not done twice.
func (r *Repo) Add(ctx context.Context, rev string, a Add) (Added, error) {
	if a.Summary == "" {
		return Added{}, errors.New("a commit needs a summary")
	}
	p, err := r.Preupload(ctx, rev, a.Files)
	if err != nil {
		return Added{}, err
	}
	s := &series{repo: r, rev: rev, add: a, modes: p.Modes, done: Added{Head: p.Head}}
	if s.left, err = missing(a.Files, p); err != nil || len(s.left) == 0 {
		return s.done, err
	}
	if a.Parent != "" && a.Parent != p.Head {
		return s.done, s.conflict(fmt.Sprintf("%s is at %s, not at %s", rev, p.Head, a.Parent))
	}
	var large []File
	for _, f := range s.left {
		if p.Modes[f.Path].LFS {
			large = append(large, f)
		}
	}
	if s.done.Uploaded, err = r.Upload(ctx, large); err != nil {
		return s.done, err
	}
	return s.done, s.commit(ctx)
}

// missing gives the files that are not at their paths yet.
func missing(files []File, p Preupload) ([]File, error) {
	var left []File
	for _, f := range files {
		m := p.Modes[f.Path]
		switch {
		case m.Ignore:
			return nil, fmt.Errorf("%s: the repository's .gitignore keeps it out; use another path, or have that changed", f.Path)
		case !f.is(m.OID):
			left = append(left, f)
		}
	}
	return left, nil
}

// series is one Add's commits.
type series struct {
	repo  *Repo
	rev   string
	add   Add
	modes map[string]Mode
	left  []File // not committed yet
	done  Added
	limit int // operations in the next commit
	// Of the next commit: how often it was sent with no certain outcome, and whether an answer was lost.
	tries int
	lost  bool
}

func (s *series) conflict(message string) *Error {
	return &Error{Op: "add to " + s.rev, Method: http.MethodPost, URL: s.url(), Conflict: true, Message: message}
}

func (s *series) url() string { return s.repo.api("commit", s.rev) }

func (s *series) commit(ctx context.Context) error {
	s.limit = mostOps
	for len(s.left) > 0 {
		part := s.next()
		head, err := s.send(ctx, part)
		var e *Error
		switch {
		case err == nil:
			s.landed(head, s.left[len(part):])
			s.done.Commits++
		case !errors.As(err, &e) || ctx.Err() != nil:
			return err
		case e.Status == http.StatusRequestEntityTooLarge && len(part) > 1:
			s.limit = len(part) / 2
		case e.Lost || e.Conflict:
			if err := s.settle(ctx, part, e); err != nil {
				return err
			}
		default:
			return err
		}
	}
	return nil
}

// next gives the files of the next commit: at most limit of them, and not too much content.
func (s *series) next() []File {
	var content int64
	for i, f := range s.left {
		if !s.modes[f.Path].LFS {
			content += f.Size
		}
		if i == s.limit || (i > 0 && content > mostContent) {
			return s.left[:i]
		}
	}
	return s.left
}

func (s *series) landed(head string, left []File) {
	s.done.Head, s.left = head, left
	s.tries, s.lost = 0, false
}

// settle finds out what became of a commit whose answer was lost, or which the Hub refuses because the head is no longer its
// parent: perhaps for the same commit, sent before.
func (s *series) settle(ctx context.Context, part []File, e *Error) error {
	s.tries++
	s.lost = s.lost || e.Lost
	if e.Lost || s.tries > 1 { // it may be at work still, or does not know its own head yet
		if err := s.repo.c.wait(ctx, e, step(s.tries-1)); err != nil {
			return err
		}
	}
	p, err := s.repo.Preupload(ctx, s.rev, s.left)
	if err != nil {
		return fmt.Errorf("%w (while asking what became of: %w)", err, e)
	}
	left, err := missing(s.left, p)
	switch {
	case err != nil:
		return err
	case p.Head == s.done.Head && s.tries > s.repo.c.o.Retries:
		return e
	case p.Head == s.done.Head: // not done; under the same parent it cannot be done twice
		if e.Status == http.StatusGatewayTimeout && len(part) > 1 {
			s.limit = len(part) / 2
		}
		return nil
	case len(missingOf(part, left)) > 0:
		return s.conflict(fmt.Sprintf("%s has moved from %s to %s", s.rev, s.done.Head, p.Head))
	}
	if s.lost {
		s.done.Commits++
	}
	s.landed(p.Head, left)
	return nil
}

// missingOf gives the files of part that are in left.
func missingOf(part, left []File) []File {
	in := make(map[string]bool, len(left))
	for _, f := range left {
		in[f.Path] = true
	}
	var some []File
	for _, f := range part {
		if in[f.Path] {
			some = append(some, f)
		}
	}
	return some
}

// send commits part under the head, and waits while the repository is busy with another commit.
func (s *series) send(ctx context.Context, part []File) (head string, err error) {
	summary := s.add.Summary
	if s.done.Commits > 0 {
		summary = fmt.Sprintf("%s (part %d)", summary, s.done.Commits+1)
	}
	cl := call{
		op: fmt.Sprintf("commit %d files to %s", len(part), s.rev), method: http.MethodPost, url: s.url(), once: true,
		header: map[string]string{"Accept": jsonType, "Content-Type": "application/x-ndjson"},
	}
	if cl.body, err = commitBody(commitHeader{summary, s.add.Description, s.done.Head}, part, s.modes); err != nil {
		return "", err
	}
	var answer struct{ CommitOID string }
	cl.take = func(resp *http.Response) error {
		err := decode(resp, &answer, nil)
		if err == nil && answer.CommitOID == "" {
			err = &garbled{errors.New("the answer names no commit")}
		}
		return err
	}
	for try := 0; ; try++ {
		err = s.repo.c.do(ctx, &cl)
		var e *Error
		if !errors.As(err, &e) || e.Status != http.StatusConflict || ctx.Err() != nil || try >= busyTries {
			return answer.CommitOID, err
		}
		if err := s.repo.c.wait(ctx, e, step(try)); err != nil {
			return "", err
		}
	}
}
