package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/cli"
)

// connectFlags say which broker to use. Secrets are in files, never in flags.
type connectFlags struct {
	NATS    string `name:"nats" env:"TRACEFLEET_NATS" placeholder:"URL" help:"Use the fleet's broker instead of an embedded one."`
	Creds   string `env:"TRACEFLEET_CREDS" placeholder:"FILE" help:"NATS user credentials."`
	NKey    string `name:"nkey" env:"TRACEFLEET_NKEY" placeholder:"FILE" help:"NATS nkey seed."`
	TLSCA   string `name:"tlsca" env:"TRACEFLEET_TLSCA" placeholder:"FILE" help:"PEM of the authorities to trust; TLS is then required."`
	TLSCert string `name:"tlscert" env:"TRACEFLEET_TLSCERT" placeholder:"FILE" help:"PEM of the client certificate."`
	TLSKey  string `name:"tlskey" env:"TRACEFLEET_TLSKEY" placeholder:"FILE" help:"PEM of its key."`
}

// sizeFlags set the size of what is stored in the broker.
type sizeFlags struct {
	StreamMaxBytes string `name:"stream-max-bytes" env:"TRACEFLEET_STREAM_MAX_BYTES" placeholder:"SIZE" help:"Most that all streams and buckets may hold together, such as 10GB, at least 64MiB; changes existing ones too. Without it they keep their sizes; where the account demands sizes, it gets them from its limits."`
}

// ensure creates streams and buckets, and sets their sizes.
func (f sizeFlags) ensure(ctx context.Context, b *bus.Bus) error {
	size, err := cli.ParseBytes(f.StreamMaxBytes)
	if err != nil {
		return cli.Usagef("--stream-max-bytes: %w", err)
	}
	if f.StreamMaxBytes != "" && size < bus.MinMaxBytes {
		return cli.Usagef("--stream-max-bytes is %s, must be at least %s", f.StreamMaxBytes, cli.Bytes(bus.MinMaxBytes))
	}
	return b.Ensure(ctx, bus.MaxBytes(size))
}

// connect opens the connection named by --nats and creates streams and buckets that are missing. It is for commands that a person waits
// for: what the broker refuses is an error.
func (f connectFlags) connect(ctx context.Context, env *environ, name string, size sizeFlags) (*bus.Bus, error) {
	return f.connectAs(ctx, env, name, size, false)
}

// connectRole is connect for a role, which waits for what the broker refuses.
func (f connectFlags) connectRole(ctx context.Context, env *environ, name string, size sizeFlags) (*bus.Bus, error) {
	return f.connectAs(ctx, env, name, size, true)
}

func (f connectFlags) connectAs(ctx context.Context, env *environ, name string, size sizeFlags, patient bool) (*bus.Bus, error) {
	if f.NATS == "" {
		return nil, cli.Usagef("%s needs a broker: give --nats URL (or set TRACEFLEET_NATS)", name)
	}
	b, err := bus.Connect(ctx, bus.Config{
		URL: f.NATS, Name: nodeName(), Creds: f.Creds, NKey: f.NKey, CA: f.TLSCA, Cert: f.TLSCert, Key: f.TLSKey, Patient: patient, Log: env.Log,
	})
	if err == nil {
		if err = size.ensure(ctx, b); err != nil {
			b.Close()
		}
	}
	switch {
	case err == nil:
		return b, nil
	case ctx.Err() != nil: // stopped by a signal while it waited
		return nil, &cli.ExitError{Code: cli.ExitInterrupted}
	}
	return nil, err
}

// session is a connection, with the broker behind it where this process brought it.
type session struct {
	bus    *bus.Bus
	server *bus.Server // nil: the broker is another process
	guest  bool        // that process is a collect or serve of this user, and takes its broker along when it ends
}

// Close ends the connection, then the broker.
func (s *session) Close() {
	s.bus.Close()
	if s.server != nil {
		s.server.Close()
	}
}

// watchBroker gives the failure of a broker in this process that cannot store any more, or nil when ctx ends. Everything waits for a
// broker that is away; this one will not come back, and without it the wait would never end.
func (s *session) watchBroker(ctx context.Context) error {
	select {
	case <-s.server.Failed():
		return s.server.Err()
	case <-ctx.Done():
		return nil
	}
}

// open connects to --nats, to the broker that another process has on stateDir, or to one of our own on stateDir, which other
// commands of this user can join as long as it runs.
func (f connectFlags) open(ctx context.Context, env *environ, stateDir, listen string, size sizeFlags) (*session, error) {
	if f.NATS != "" {
		b, err := f.connect(ctx, env, "tracefleet", size)
		if err != nil {
			return nil, err
		}
		return &session{bus: b}, nil
	}
	server, err := bus.StartEmbedded(bus.Embedded{StateDir: stateDir, Listen: listen, Local: listen == "", Log: env.Log})
	if err != nil {
		return nil, err
	}
	b, err := server.Connect(ctx, nodeName())
	if err != nil {
		server.Close()
		return nil, err
	}
	s := &session{bus: b, server: server}
	if err := size.ensure(ctx, b); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// join is open for commands that look at a collection or steer it: where another process holds the state directory they
// talk to the broker there. They never make a state directory.
func (f connectFlags) join(ctx context.Context, env *environ, stateDir string) (*session, error) {
	if f.NATS == "" {
		if _, err := os.Stat(stateDir); err != nil {
			return nil, cli.Usagef("state directory: %w; give --state-dir of the collection, or --nats of the fleet", err)
		}
	}
	quiet := *env // a broker that is up for the moment of a question is no news
	quiet.Log = env.Log.Level(max(env.Log.GetLevel(), zerolog.WarnLevel))
	env = &quiet
	for giveUp := time.Now().Add(hostChange); ; time.Sleep(hostChange / 50) {
		s, err := f.open(ctx, env, stateDir, "", sizeFlags{})
		if !errors.Is(err, bus.ErrStateDirInUse) {
			return s, err
		}
		b, joinErr := bus.ConnectLocal(ctx, stateDir, bus.Config{Name: nodeName(), Log: env.Log})
		if joinErr == nil {
			return &session{bus: b, guest: true}, nil
		}
		if time.Now().After(giveUp) {
			return nil, fmt.Errorf("%w (%w)", err, joinErr)
		}
	}
}

// hostChange is how long a process may hold a state directory without a broker that can be joined: while it starts or ends.
const hostChange = 5 * time.Second

func nodeName() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "localhost"
	}
	return host
}
