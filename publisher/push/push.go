package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/hub"
	"github.com/tracefleet/tracefleet/publisher/prbody"
)

// Branch is where pull requests begin.
const Branch = "main"

// moved is how often a push starts over because somebody else pushed in between.
const moved = 20

// Text is what a pull request says.
type Text struct {
	Title       string
	Description func(old string) string // made from the one that is there; of a new pull request from an empty one
	Whose       func(description string) Whose
}

// Whose says what a pull request is, by its description.
type Whose int

// Whose it may be.
const (
	Theirs  Whose = iota // nothing of ours: it can be added to, and its text is left alone
	Ours                 // this collection's, of this definition
	Earlier              // another collection's, of this definition
	Another              // one of another definition
)

// Index knows of which definition pull requests are, so that one need not be read again to see that it is another's.
type Index interface {
	Another(num int) bool
	Met(pr hub.PR)
}

// Pull is one definition's pull request.
type Pull struct {
	Client *hub.Client
	Repo   *hub.Repo
	State  *proto.PushState
	Text   Text
	Given  bool                                                // State.PR is the user's choice: no other one will do
	Adopt  func(pr hub.PR) bool                                // whether an earlier collection's open pull request is gone on with; nil: it never is
	Index  Index                                               // of pull requests met before; nil: none
	Save   func(ctx context.Context, s *proto.PushState) error // keeps the state; an error ends the push
	Log    zerolog.Logger
}

// Sync adds to the pull request what of content it has not, and makes its text Text. The pull request is made, as a draft, when
// there is none yet.
func (p *Pull) Sync(ctx context.Context, summary string, c *Content) error {
	pr, err := p.ensure(ctx)
	if err != nil {
		return err
	}
	if err := p.commit(ctx, pr.Ref(), summary, c); err != nil {
		return err
	}
	return p.Tell(ctx) // as it is now: others write too, and the commits may have taken long
}

// Would returns what Sync would do, a line each.
func (p *Pull) Would(ctx context.Context, c *Content) ([]string, error) {
	first := fmt.Sprintf("open a draft pull request in %s: %s", p.Repo.ID(), p.Text.Title)
	if p.State.PR > 0 {
		first = fmt.Sprintf("go on with pull request %d of %s", p.State.PR, p.Repo.ID())
	}
	plan, err := look(ctx, p.Repo, p.Rev(), c)
	if err != nil {
		return nil, err
	}
	p.warn(plan.warnings)
	return append([]string{first}, plan.steps()...), nil
}

// Rev returns where the next commit goes: the pull request, once there is one.
func (p *Pull) Rev() string {
	if p.State.PR == 0 {
		return Branch
	}
	return hub.PR{Num: p.State.PR}.Ref()
}

// Published returns what the repository has at path and, of each large file below dir, the hex SHA-256 of its content. What is not there is
// empty. It is read where the next commit goes.
func (p *Pull) Published(ctx context.Context, path, dir string) ([]byte, map[string]string, error) {
	rev := p.Rev()
	data, err := Read(ctx, p.Repo, rev, path)
	if err != nil || len(data) == 0 {
		return nil, nil, err
	}
	sums := map[string]string{}
	for e, err := range p.Repo.Tree(ctx, rev, dir) {
		switch {
		case missing(err):
			return data, sums, nil
		case err != nil:
			return nil, nil, err
		case e.LFS != "":
			sums[e.Path] = e.LFS
		}
	}
	return data, sums, nil
}

// Added returns the lines that the pull request has beyond those of the branch it will be merged into, by their keys. Lines that have no key
// are not among them.
func (p *Pull) Added(ctx context.Context, path string, key func(line []byte) (string, error)) (map[string][]byte, error) {
	added := map[string][]byte{}
	for _, rev := range []string{p.Rev(), Branch} {
		data, err := Read(ctx, p.Repo, rev, path)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(data) {
			k, err := key(bytes.TrimSpace(line))
			switch {
			case err != nil:
			case rev == Branch:
				delete(added, k)
			default:
				added[k] = line
			}
		}
	}
	return added, nil
}

// Tell brings the pull request's text up to date, where it is ours to write.
func (p *Pull) Tell(ctx context.Context) error {
	pr, err := p.Repo.PR(ctx, p.State.PR)
	if err != nil {
		return err
	}
	if whose := p.Text.Whose(pr.Description); whose != Ours && whose != Earlier {
		return nil
	}
	if text := p.Text.Description(pr.Description); text != pr.Description {
		return p.Repo.EditDescription(ctx, pr, text)
	}
	return nil
}

// Open takes the pull request out of draft.
func (p *Pull) Open(ctx context.Context) error {
	pr, err := p.Repo.PR(ctx, p.State.PR)
	if err != nil {
		return err
	}
	if pr.Status == hub.StatusDraft {
		if err := p.Repo.Open(ctx, pr.Num, ""); err != nil {
			if pr, again := p.Repo.PR(ctx, p.State.PR); again != nil || pr.Status != hub.StatusOpen {
				return err
			}
		}
	}
	p.State.Open = true
	return nil
}

// Find gives the pull request that is gone on with: that of the state, one that an interrupted run made, or one that an earlier collection
// of the definition opened, since two of them would change one file. Its number is 0 when there is none. What was merged or closed meanwhile
// is not gone on with, but where it is the user's choice, which is a failure.
func (p *Pull) Find(ctx context.Context) (pr hub.PR, err error) {
	if p.State.PR != 0 {
		pr, err = p.Repo.PR(ctx, p.State.PR)
		if err != nil {
			return pr, err
		}
		if p.Given || pr.Status == hub.StatusDraft || pr.Status == hub.StatusOpen {
			return pr, Addable(p.Repo, pr, p.Text.Whose)
		}
		p.State.PR, p.State.URL, p.State.Head, p.State.Open, p.State.Held = 0, "", "", false, false
	}
	ours, earlier, err := p.find(ctx)
	switch {
	case err != nil:
		return hub.PR{}, err
	case ours.Num != 0:
		pr = ours
	case earlier.Num == 0:
		return hub.PR{}, nil
	case p.Adopt != nil && p.Adopt(earlier):
		pr = earlier
	default:
		return hub.PR{}, proto.Failf(proto.CodeHubPR, "pull request %d of %s is yours, open, and of the same definition: another one would change the same file",
			earlier.Num, p.Repo.ID()).WithHint("%s", p.remedy(earlier))
	}
	p.State.PR, p.State.URL = pr.Num, pr.URL
	return pr, nil
}

// remedy returns what the user can do about an earlier collection's pull request. Simulated workloads and others never share a file, so
// that --pr-num would be refused where the titles differ in that.
func (p *Pull) remedy(earlier hub.PR) string {
	if prbody.SaysSimulated(earlier.Title) != prbody.SaysSimulated(p.Text.Title) {
		return "merge or close it first; simulated workloads and others never share a file"
	}
	return fmt.Sprintf("--pr-num %d adds to it; or merge or close it first", earlier.Num)
}

// Rival gives another open pull request of ours for the same definition, as two collections make them that run at once: only one of them
// can be merged. Its number is 0 when there is none.
func (p *Pull) Rival(ctx context.Context) (hub.PR, error) {
	_, earlier, err := p.find(ctx)
	return earlier, err
}

// ensure gives the pull request: the one that Find finds, or a new one.
func (p *Pull) ensure(ctx context.Context) (hub.PR, error) {
	known := p.State.PR
	pr, err := p.Find(ctx)
	if err == nil && pr.Num == 0 {
		pr, err = p.create(ctx)
	}
	if err != nil {
		return pr, err
	}
	p.State.PR, p.State.URL = pr.Num, pr.URL
	if pr.Num == known {
		return pr, nil
	}
	return pr, p.Save(ctx, p.State)
}

// Addable says why nothing can be added to a pull request.
func Addable(repo *hub.Repo, pr hub.PR, whose func(description string) Whose) error {
	switch pr.Status {
	case hub.StatusDraft, hub.StatusOpen:
	case hub.StatusMerged:
		return proto.Failf(proto.CodeHubPR, "pull request %d of %s is merged, and takes no more", pr.Num, repo.ID()).WithHint("leave --pr-num out for a new one")
	default:
		return proto.Failf(proto.CodeHubPR, "pull request %d of %s is %s", pr.Num, repo.ID(), pr.Status).
			WithHint("open it again on the Hub, or leave --pr-num out for a new one")
	}
	if whose(pr.Description) == Another {
		return proto.Failf(proto.CodeHubPR, "pull request %d of %s is of another definition: %s", pr.Num, repo.ID(), pr.Title).
			WithHint("check --pr-num, or leave it out for a new one; there is one pull request a definition")
	}
	return nil
}

// create makes the pull request. When the answer is lost, the Hub is asked whether it was done.
func (p *Pull) create(ctx context.Context) (hub.PR, error) {
	pr, err := p.Repo.CreatePR(ctx, p.Text.Title, p.Text.Description(""))
	var lost *hub.Error
	if !errors.As(err, &lost) || !lost.Lost {
		return pr, err
	}
	p.Log.Warn().Err(err).Msg("the answer to a new pull request was lost; looking for it")
	pr, _, again := p.find(ctx)
	if again != nil {
		return pr, again
	}
	if pr.Num == 0 {
		return pr, fmt.Errorf("%w (and there is none)", err)
	}
	return pr, nil
}

// find looks for pull requests of ours by what their texts begin with: this collection's, and the newest other one of the definition that is
// open. An earlier collection's draft is left alone: what it has did not pass.
func (p *Pull) find(ctx context.Context) (ours, earlier hub.PR, err error) {
	who, err := p.Client.Whoami(ctx)
	if err != nil {
		return ours, earlier, err
	}
	for listed, err := range p.Repo.PRs(ctx, hub.PRQuery{Author: who.Name}) {
		if err != nil {
			return ours, earlier, err
		}
		if listed.Status != hub.StatusDraft && listed.Status != hub.StatusOpen || p.Index != nil && p.Index.Another(listed.Num) {
			continue
		}
		pr, err := p.Repo.PR(ctx, listed.Num)
		if err != nil {
			return ours, earlier, err
		}
		if p.Index != nil {
			p.Index.Met(pr)
		}
		switch whose := p.Text.Whose(pr.Description); {
		case whose == Ours && ours.Num == 0:
			ours = pr
		case (whose == Ours || whose == Earlier) && pr.Status == hub.StatusOpen && pr.Num != p.State.PR && earlier.Num == 0:
			earlier = pr
		}
	}
	return ours, earlier, nil
}

// commit adds what is missing at a ref: whole files, then, with every blob asked for again, the lines.
func (p *Pull) commit(ctx context.Context, ref, summary string, c *Content) error {
	for range moved {
		plan, err := look(ctx, p.Repo, ref, c)
		if err != nil {
			return err
		}
		p.warn(plan.warnings)
		head := plan.head
		if len(plan.whole) > 0 {
			if head, err = p.add(ctx, ref, summary, head, plan.whole); started(err) {
				continue
			} else if err != nil {
				return err
			}
		}
		if err := verify(ctx, p.Repo, ref, plan.blobs); err != nil {
			return err
		}
		files := slices.Clone(plan.own)
		for _, g := range plan.lines {
			files = append(files, g.file)
		}
		if len(files) > 0 {
			if head, err = p.add(ctx, ref, summary, head, files); started(err) {
				continue
			} else if err != nil {
				return err
			}
		}
		p.State.Head = head
		return nil
	}
	return proto.Failf(proto.CodeHubFailed, "%s at %s moved %d times while it was added to", p.Repo.ID(), ref, moved).WithRetry()
}

// started reports whether somebody else's commit came first: start over.
func started(err error) bool {
	var e *hub.Error
	return errors.As(err, &e) && e.Conflict
}

func (p *Pull) add(ctx context.Context, ref, summary, parent string, files []hub.File) (string, error) {
	done, err := p.Repo.Add(ctx, ref, hub.Add{Summary: summary, Parent: parent, Files: files})
	p.State.Commits += done.Commits
	p.State.Bytes += done.Bytes
	return done.Head, err
}

// verify asks for every blob again.
func verify(ctx context.Context, repo *hub.Repo, ref string, blobs []hub.File) error {
	have, err := entries(ctx, repo, ref, blobs)
	if err != nil {
		return err
	}
	for _, f := range blobs {
		if e, there := have[f.Path]; !there || !e.Is(&f) {
			return proto.Failf(proto.CodeHubFailed, "%s at %s has not %s as it was sent, so no line is added that refers to it", repo.ID(), ref, f.Path).WithRetry()
		}
	}
	return nil
}

func (p *Pull) warn(warnings []string) {
	for _, w := range warnings {
		if !slices.Contains(p.State.Warnings, w) {
			p.State.Warnings = append(p.State.Warnings, w)
		}
	}
}
