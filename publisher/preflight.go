package publisher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/baseline"
	"github.com/tracefleet/tracefleet/publisher/dataset"
	"github.com/tracefleet/tracefleet/publisher/hub"
	"github.com/tracefleet/tracefleet/publisher/push"
)

// hubFailure returns an error of the Hub with its code, and with whether the step may succeed later.
func hubFailure(err error) error {
	var e *hub.Error
	if f := new(proto.Failure); errors.As(err, &f) || !errors.As(err, &e) {
		return err
	}
	f := proto.Failf(proto.CodeHubFailed, "%v", e)
	switch {
	case e.NoHub:
		f.Retryable = e.Retryable
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		f.Code = proto.CodeHubToken
	case e.Status == http.StatusNotFound && e.Code == "RepoNotFound":
		f.Code = proto.CodeHubRepo
	case e.RetryAfter > 0:
		return bus.Later(e.RetryAfter, "%v", e)
	case e.Retryable || e.Lost || e.Conflict || e.Status == 0:
		f.Retryable = true
	}
	return f
}

// HubSession is a repository that may be written to, as far as could be asked.
type HubSession struct {
	Client   *hub.Client
	Repo     *hub.Repo
	Endpoint string
	Known    bool // the Hub knows who asks
}

// OpenHub finds endpoint and token in the environment, and fails if anything would keep a collection from being pushed, before anything is
// written and before GPU time is spent: no token, or one without the rights, no such repository, a pull request that cannot be added
// to, a definition that the repository has with another content, simulated workloads for a real Hub, or for a workloads file with other
// lines. The errors are *proto.Failure.
func OpenHub(ctx context.Context, o Options, spec proto.PublishSpec, calls Calls, defs ...*fitrace.Definition) (*HubSession, error) {
	s := &HubSession{Endpoint: hub.Endpoint(o.Getenv)}
	if err := hub.CheckEndpoint(s.Endpoint); err != nil {
		return nil, proto.Failf(proto.CodeHubFailed, "%v", err)
	}
	if hub.Offline(o.Getenv) && !loopback(s.Endpoint) { // which needs no network
		return nil, proto.Failf(proto.CodeHubFailed, "HF_HUB_OFFLINE forbids to use the Hub").WithHint("unset it where the publisher runs")
	}
	if calls == CallsSimulated && !spec.AllowSimulated && !spec.NoPush && !loopback(s.Endpoint) {
		return nil, simulatedPush(s.Endpoint)
	}
	token, err := hub.FindToken(o.Getenv)
	if err != nil {
		return nil, proto.Failf(proto.CodeHubToken, "%v", err)
	}
	if s.Client, err = hub.New(hub.Options{Endpoint: s.Endpoint, Token: token.Value, UserAgent: "tracefleet/" + o.Version, Log: o.Log, Receipts: o.receipts, Waiting: o.waiting}); err != nil {
		return nil, proto.Failf(proto.CodeHubFailed, "%v", err)
	}
	if s.Repo, err = s.Client.Dataset(spec.Repo); err != nil {
		return nil, proto.Failf(proto.CodeHubRepo, "%v", err)
	}
	s.Known = token.Value != ""
	if !spec.NoPush {
		if err := identify(ctx, s.Client, token); err != nil {
			return nil, err
		}
	}
	if _, err := s.Repo.Info(ctx, push.Branch); err != nil {
		if answered(err, http.StatusNotFound, http.StatusUnauthorized) {
			return nil, proto.Failf(proto.CodeHubRepo, "there is no dataset repository %s at %s, or this token does not see it: %v", spec.Repo, s.Endpoint, err).
				WithHint("check --repo-id and HF_ENDPOINT")
		}
		return nil, hubFailure(err)
	}
	if err := s.takes(ctx, spec.PR, calls, defs); err != nil {
		return nil, hubFailure(err)
	}
	return s, baselines(spec, defs)
}

// baselines names the definitions that have none, where one is asked for.
func baselines(spec proto.PublishSpec, defs []*fitrace.Definition) error {
	if spec.NoEval || spec.NoPush {
		return nil
	}
	var none []string
	for _, d := range defs {
		if _, err := baseline.For(d); err != nil {
			none = append(none, err.Error())
		}
	}
	if len(none) == 0 {
		return nil
	}
	return proto.Failf(proto.CodeNotPublishable, "%s", strings.Join(none, "; ")).
		WithHint("leave them out of what is selected, or --no-eval, which leaves the pull requests without a baseline and says so there")
}

// takes returns an error if the repository, or one of its pull requests, cannot take definitions and calls.
func (s *HubSession) takes(ctx context.Context, num int, calls Calls, defs []*fitrace.Definition) error {
	rev := push.Branch
	if num != 0 {
		pr, err := s.Repo.PR(ctx, num)
		switch {
		case answered(err, http.StatusNotFound):
			return proto.Failf(proto.CodeHubPR, "%s has no pull request %d", s.Repo.ID(), num).WithHint("check --pr-num, or leave it out for a new one")
		case err != nil:
			return err
		}
		rev = pr.Ref()
		for _, d := range defs {
			if err := push.Addable(s.Repo, pr, whose("", d.Name)); err != nil {
				return err
			}
		}
	}
	if err := push.Fits(ctx, s.Repo, rev, firm(defs...)); err != nil {
		return err
	}
	return s.unmixed(ctx, rev, calls, defs...)
}

// unmixed returns a failure if calls may not be added to the workloads files that a revision has of definitions.
func (s *HubSession) unmixed(ctx context.Context, rev string, calls Calls, defs ...*fitrace.Definition) error {
	if calls == CallsUnknown {
		return nil
	}
	files := make([]string, len(defs))
	for i, d := range defs {
		files[i] = fitrace.WorkloadsPath(d.OpType, d.Name)
	}
	have, err := push.Existing(ctx, s.Repo, rev, files)
	if err != nil {
		return err
	}
	for i, d := range defs {
		if !have[files[i]] {
			continue
		}
		workloads, err := push.Read(ctx, s.Repo, rev, files[i])
		if err != nil {
			return err
		}
		provenance, err := push.Read(ctx, s.Repo, rev, fitrace.ProvenancePath(d.OpType, d.Name))
		if err != nil {
			return err
		}
		lines, _ := fitrace.ParseLines(bytes.NewReader(workloads), files[i]) // those that do not parse are among them
		where := fmt.Sprintf("%s at %s", s.Repo.ID(), rev)
		if f := unmixed(files[i], where, lines, dataset.SimulatedOf(dataset.ParseProvenanceLines(provenance)), calls); f != nil {
			return f.WithHint("pass another --repo-id, or rehearse with `tracefleet hub-sandbox`")
		}
	}
	return nil
}

// firm returns the files that a repository must have exactly so.
func firm(defs ...*fitrace.Definition) []hub.File {
	var files []hub.File
	for _, d := range defs {
		files = append(files, hub.FileOf(fitrace.DefinitionPath(d.OpType, d.Name), d.Raw))
	}
	return files
}

// answered reports whether it was a Hub that answered, with one of these statuses.
func answered(err error, statuses ...int) bool {
	var e *hub.Error
	return errors.As(err, &e) && !e.NoHub && slices.Contains(statuses, e.Status)
}

// identify says what is wrong with the token, as far as the Hub tells.
func identify(ctx context.Context, client *hub.Client, token hub.Token) error {
	if token.Value == "" {
		return proto.Failf(proto.CodeHubToken, "the publisher has no token for the Hub").
			WithHint("set HF_TOKEN where the publisher runs, or `hf auth login` there; see docs/publishing.md for the rights it needs")
	}
	who, err := client.Whoami(ctx)
	if answered(err, http.StatusUnauthorized, http.StatusForbidden) {
		return proto.Failf(proto.CodeHubToken, "the Hub does not accept the token of %s", token.Source).WithHint("make a new one at https://huggingface.co/settings/tokens")
	}
	if err != nil {
		return hubFailure(err)
	}
	if who.Role == "read" {
		return proto.Failf(proto.CodeHubToken, "the token of %s (user %s) can only read", token.Source, who.Name).
			WithHint("pull requests need a fine-grained token that may open them in this repository, or one that writes")
	}
	return nil
}

func simulatedPush(endpoint string) *proto.Failure {
	return proto.Failf(proto.CodeSimulatedPush, "the workloads are simulated, and %s is a real Hub", endpoint).
		WithHint("rehearse against `tracefleet hub-sandbox`; --allow-simulated pushes them all the same, marked on every page")
}

// loopback reports whether an endpoint is on this machine: a sandbox.
func loopback(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	if u.Hostname() == "localhost" {
		return true
	}
	ip := net.ParseIP(u.Hostname())
	return ip != nil && ip.IsLoopback()
}
