package hubtest

import (
	"fmt"
	"os"
)

// PR is what a test may want to know of a pull request.
type PR struct {
	Num         int
	Title       string
	Status      string
	Author      string
	Description string
	Comments    []string // without the description
	Head        string   // commit
	Commits     []Commit // of the pull request, oldest first
}

// PRs gives all pull requests in the order of their numbers.
func (s *Server) PRs() []PR {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []PR
	for n := 1; n < h.state.Next; n++ {
		if d := h.discuss[n]; d.PullRequest {
			list = append(list, h.pr(d))
		}
	}
	return list
}

func (h *hub) pr(d *discussion) PR {
	pr := PR{Num: d.Num, Title: d.Title, Status: d.Status, Author: d.Author, Description: d.description(), Head: h.state.Refs[d.ref()]}
	first := true
	for _, e := range d.Events {
		if e.Type == "comment" {
			if !first {
				pr.Comments = append(pr.Comments, e.comment().Latest.Raw)
			}
			first = false
		}
	}
	commits, err := h.history(pr.Head, d.Start)
	if err != nil {
		h.violate("pull request %d: %v", d.Num, err)
	}
	for i := len(commits) - 1; i >= 0; i-- {
		pr.Commits = append(pr.Commits, *commits[i])
	}
	return pr
}

// Head gives the commit of a branch or ref, "" where there is none.
func (s *Server) Head(rev string) string {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	_, oid, _ := s.hub.resolve(rev)
	return oid
}

// Files gives all files at a revision: path → content.
func (s *Server) Files(rev string) (map[string][]byte, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	_, oid, ok := h.resolve(rev)
	if !ok {
		return nil, fmt.Errorf("revision %s: %w", rev, errMissing)
	}
	t, err := h.tree(oid)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(t))
	for path, e := range t {
		if files[path], err = os.ReadFile(h.content(e)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// Push commits as another user, for tests of what happens between others' reading and writing. It gives the commit.
func (s *Server) Push(rev, author, summary string, files map[string][]byte) (string, error) {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	ref, _, ok := h.resolve(rev)
	if !ok || ref == "" {
		return "", fmt.Errorf("ref %s: %w", rev, errMissing)
	}
	return h.push(ref, author, summary, files)
}

// ClosePR closes a pull request, as a maintainer does.
func (s *Server) ClosePR(num int) error {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.discuss[num]
	if d == nil {
		return fmt.Errorf("pull request %d: %w", num, errMissing)
	}
	d.Status = "closed"
	return h.addEvent(d, "status-change", "maintainer", map[string]string{"status": "closed"})
}

// MergePR merges an open pull request, as a maintainer does.
func (s *Server) MergePR(num int) error {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	d := h.discuss[num]
	if d == nil {
		return fmt.Errorf("pull request %d: %w", num, errMissing)
	}
	return h.mergeNow(d, "maintainer")
}

// Forget removes an object from storage, by its SHA-256.
func (s *Server) Forget(sha256 string) error { return os.Remove(s.hub.store.path(lfsDir, sha256)) }
