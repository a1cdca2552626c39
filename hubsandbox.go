package main

import (
	"fmt"
	"net"
	"strconv"

	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/publisher/hub"
	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

type hubSandboxCmd struct {
	Listen   string `help:"Address to serve on; loopback only." default:"127.0.0.1:0"`
	Dir      string `help:"Keep the rehearsal here, so that it survives a restart; by default it ends with the command."`
	Repo     string `help:"Dataset repository to rehearse for." default:"flashinfer-ai/flashinfer-trace"`
	SeedFrom string `help:"Start the repository with the files of this dataset directory." type:"existingdir"`
	JSON     bool   `name:"json" help:"Print JSON."`
}

// sandboxMaintainer may do what a contributor may not, such as merge.
const sandboxMaintainer = "hf_maintainer"

// Run serves the Hub until the first signal.
func (c *hubSandboxCmd) Run(env *environ) error {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return cli.Usagef("--listen is %q, must be HOST:PORT", c.Listen)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return cli.Usagef("--listen is %q, must be an address of this machine alone, such as 127.0.0.1:8000: anybody may write here", c.Listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return cli.Usagef("--listen is %q: port %s must be from 0 to 65535", c.Listen, port)
	}
	if _, err := new(hub.Client).Dataset(c.Repo); err != nil {
		return cli.Usagef("--repo: %w", err)
	}
	s, err := hubtest.Start(hubtest.Options{
		Repo: c.Repo, Dir: c.Dir, Listen: c.Listen, SeedDir: c.SeedFrom, Lenient: true, Verify: true,
		Users: []hubtest.User{
			{Name: "contributor", Token: "hf_contributor"},
			{Name: "maintainer", Token: sandboxMaintainer, Writer: true},
		},
	})
	if err != nil {
		return err
	}
	defer s.Close()
	if c.SeedFrom != "" && !s.Fresh {
		env.Log.Warn().Str("dir", c.Dir).Msg("the rehearsal goes on: --seed-from was for its start")
	}
	page := s.URL + "/datasets/" + c.Repo
	if c.JSON {
		err = cli.JSON(env.Stdout, map[string]any{"endpoint": s.URL, "token": s.Token, "maintainer_token": sandboxMaintainer, "page": page, "dir": c.Dir})
		if err != nil {
			return err
		}
	} else {
		for _, variable := range s.Env() {
			if _, err := fmt.Fprintf(env.Stdout, "export %s\n", variable); err != nil {
				return err // nothing could use it
			}
		}
	}
	fmt.Fprintf(env.Stderr, "a rehearsal of %s, for who has these variables; nothing reaches huggingface.co\n"+
		"see %s; HF_TOKEN=%s may merge; Ctrl-C ends it\n", c.Repo, page, sandboxMaintainer)
	<-env.Soft.Done()
	return nil
}
