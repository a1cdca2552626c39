package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/hub"
)

// plan is what is missing at a revision. It is worked out by asking, and printed by --no-push.
type plan struct {
	head     string
	whole    []hub.File // to be added
	blobs    []hub.File // all blobs: asked for again before lines are added
	lines    []grown
	own      []hub.File // to be added or replaced
	warnings []string
}

// grown is a file of lines with some more.
type grown struct {
	file  hub.File
	added int
}

// Fits says whether a revision has one of these files with another content, as a failure with code hub_conflict.
func Fits(ctx context.Context, repo *hub.Repo, rev string, firm []hub.File) error {
	_, err := look(ctx, repo, rev, &Content{Firm: firm})
	return err
}

// look compares content with what a revision has.
func look(ctx context.Context, repo *hub.Repo, rev string, c *Content) (*plan, error) {
	info, err := repo.Info(ctx, rev)
	if err != nil {
		return nil, err
	}
	p := &plan{head: info.SHA, blobs: c.Blobs}
	have, err := entries(ctx, repo, rev, slices.Concat(c.Firm, c.Offered, c.Blobs, c.Own))
	if err != nil {
		return nil, err
	}
	for _, f := range c.Firm {
		there, same, err := compare(ctx, repo, rev, have, f)
		if err != nil {
			return nil, err
		}
		if there && !same {
			return nil, conflict(repo, rev, f.Path).WithHint("collect with the repository's own file, or give yours another name")
		}
		p.add(there, f)
	}
	for _, f := range c.Offered {
		there, same, err := compare(ctx, repo, rev, have, f)
		if err != nil {
			return nil, err
		}
		if there && !same {
			p.warnings = append(p.warnings, fmt.Sprintf("%s has another %s, which stays", repo.ID(), f.Path))
		}
		p.add(there, f)
	}
	for _, f := range c.Blobs {
		e, there := have[f.Path]
		if there && !e.Is(&f) {
			return nil, conflict(repo, rev, f.Path).WithHint("a blob's name has its workload's uuid, so two contents under one name mean that somebody changed one by hand")
		}
		p.add(there, f)
	}
	for _, f := range c.Own {
		if e, there := have[f.Path]; !there || !e.Is(&f) {
			p.own = append(p.own, f)
		}
	}
	byPath := map[string]map[string]bool{}
	for i := range c.Lines {
		l, err := c.Lines[i].along(byPath)
		if err != nil {
			return nil, err
		}
		if len(l.Add) == 0 {
			continue
		}
		old, err := Read(ctx, repo, rev, l.Path)
		if err != nil {
			return nil, err
		}
		all, added, err := l.merge(old)
		if err != nil {
			return nil, err
		}
		byPath[l.Path] = added
		if len(added) > 0 {
			p.lines = append(p.lines, grown{hub.FileOf(l.Path, all), len(added)})
		}
	}
	return p, nil
}

func (p *plan) add(there bool, f hub.File) {
	if !there {
		p.whole = append(p.whole, f)
	}
}

// steps says what the plan would do, a line each.
func (p *plan) steps() []string {
	var out []string
	for _, f := range p.whole {
		out = append(out, fmt.Sprintf("add %s, %d bytes", f.Path, f.Size))
	}
	for _, g := range p.lines {
		out = append(out, fmt.Sprintf("append %d lines to %s", g.added, g.file.Path))
	}
	for _, f := range p.own {
		out = append(out, fmt.Sprintf("write %s, %d bytes", f.Path, f.Size))
	}
	return out
}

func conflict(repo *hub.Repo, rev, path string) *proto.Failure {
	return proto.Failf(proto.CodeHubConflict, "%s at %s has another content in %s than what was collected with", repo.ID(), rev, path)
}

// entries asks for files by path.
func entries(ctx context.Context, repo *hub.Repo, rev string, files []hub.File) (map[string]hub.Entry, error) {
	paths := make([]string, 0, len(files))
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	have := map[string]hub.Entry{}
	if len(paths) == 0 {
		return have, nil
	}
	list, err := repo.PathsInfo(ctx, rev, paths)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		have[e.Path] = e
	}
	return have, nil
}

// compare reports whether a file is there, and with this content. JSON that differs in white space or key order alone is the same.
func compare(ctx context.Context, repo *hub.Repo, rev string, have map[string]hub.Entry, f hub.File) (there, same bool, err error) {
	e, there := have[f.Path]
	if !there || e.Is(&f) {
		return there, there, nil
	}
	theirs, err := Read(ctx, repo, rev, f.Path)
	if err != nil {
		return true, false, err
	}
	r, err := f.Open()
	if err != nil {
		return true, false, err
	}
	defer r.Close()
	var ours bytes.Buffer
	if _, err := ours.ReadFrom(r); err != nil {
		return true, false, err
	}
	return true, fitrace.EqualJSON(theirs, ours.Bytes()), nil
}

// Existing reports which files a revision has, by path.
func Existing(ctx context.Context, repo *hub.Repo, rev string, paths []string) (map[string]bool, error) {
	have := map[string]bool{}
	if len(paths) == 0 {
		return have, nil
	}
	list, err := repo.PathsInfo(ctx, rev, paths)
	for _, e := range list {
		have[e.Path] = true
	}
	return have, err
}

// Read returns a file's content; none if there is no such file.
func Read(ctx context.Context, repo *hub.Repo, rev, path string) ([]byte, error) {
	var b bytes.Buffer
	_, err := repo.Read(ctx, rev, path, &b)
	if missing(err) {
		return nil, nil
	}
	return b.Bytes(), err
}

// missing reports whether the Hub reports that a revision has no such file or directory.
func missing(err error) bool {
	var refused *hub.Error
	return errors.As(err, &refused) && refused.Status == http.StatusNotFound && refused.Code == "EntryNotFound"
}
