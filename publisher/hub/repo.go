package hub

import (
	"context"
	"fmt"
	"net/http"
)

// Identity is who a token belongs to, and what it may do.
type Identity struct {
	Name string // user name; the author of pull requests and comments
	Type string // user, org or app
	Role string // of the token: read, write or fineGrained; "" where the Hub does not say
	Orgs []string
}

// Whoami asks the Hub whose token it is, once: the Hub limits this more than anything else. It fails with status 401 for a token
// that is not valid, and without asking where the client has none.
func (c *Client) Whoami(ctx context.Context) (Identity, error) {
	if c.o.Token == "" {
		return Identity{}, fmt.Errorf("there is no token for %s: set HF_TOKEN, or run `hf auth login`", c.endpoint)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.who != nil {
		return *c.who, nil
	}
	var answer struct {
		Type string
		Name string
		Orgs []struct{ Name string }
		Auth struct {
			AccessToken struct{ Role string }
		}
	}
	if err := c.json(ctx, call{op: "ask whose token it is", method: http.MethodGet, url: c.url("api/whoami-v2"), hub: func() bool { return answer.Name != "" }}, nil, &answer); err != nil {
		return Identity{}, err
	}
	who := Identity{Name: answer.Name, Type: answer.Type, Role: answer.Auth.AccessToken.Role}
	for _, o := range answer.Orgs {
		who.Orgs = append(who.Orgs, o.Name)
	}
	c.who = &who
	return who, nil
}

// Info is a repository at a revision.
type Info struct {
	ID      string // as the Hub spells it
	SHA     string // commit, 40 hex digits
	Private bool
}

// Info asks for the repository at a branch, a commit or a pull request's ref. It fails with status 404 and Code RepoNotFound or
// RevisionNotFound; without a valid token the Hub says 401 of a repository that does not exist, or is private.
func (r *Repo) Info(ctx context.Context, rev string) (Info, error) {
	var info Info
	err := r.c.json(ctx, call{op: "ask for the head of " + rev, method: http.MethodGet, url: r.api("revision", rev), hub: func() bool { return info.SHA != "" }}, nil, &info)
	return info, err
}
