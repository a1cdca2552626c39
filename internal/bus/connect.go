package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/proto"
)

// Config names the server and the credentials.
type Config struct {
	URL   string // nats://, tls:// or ws://, several separated by commas
	Name  string // shown by the server; also the node name in dead letters
	Creds string // file with a user JWT and seed
	NKey  string // file with an nkey seed
	CA    string // PEM file of the authorities to trust; with it TLS is required
	Cert  string // PEM file of the client certificate
	Key   string // PEM file of its key

	// Wait is how long Connect keeps trying to reach a server that does not answer; 0: ten seconds. Once connected, a server that goes
	// away is waited for without a limit.
	Wait time.Duration
	// Patient makes the Bus patient from the start: also a connection that the server refuses is reported and tried again. See Bus.Patient.
	Patient bool
	// Replicas of each stream and bucket that Ensure creates; 0: one.
	Replicas int
	Log      zerolog.Logger
}

const (
	defaultWait   = 10 * time.Second
	reconnectMin  = 50 * time.Millisecond
	reconnectMax  = 5 * time.Second
	asyncInFlight = 256 // async publishes without an acknowledgement; the broker syncs them one by one anyway
)

// Bus is a connection. All methods may be called from several goroutines.
type Bus struct {
	*link
	patient bool
}

// link is what a Bus and its patient twin share.
type link struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	node     string
	replicas int
	log      zerolog.Logger
	async    chan struct{} // one token an async publish in flight
	denials  denials
	reports  reports

	mu          sync.Mutex
	reconnected chan struct{} // closed and replaced at each reconnect
	closed      chan struct{}
}

// Patient returns a Bus on the same connection that waits for what the broker refuses (JetStream off, no room, missing permission): it
// logs each refusal once and keeps trying until the context ends. Roles use it; commands that a person waits for do not.
func (b *Bus) Patient() *Bus { return &Bus{link: b.link, patient: true} }

// Connect opens a connection and checks that JetStream answers. The caller closes the Bus.
func Connect(ctx context.Context, cfg Config) (*Bus, error) {
	opts, err := cfg.options()
	if err != nil {
		return nil, fmt.Errorf("connect to nats %s: %w", redact(cfg.URL), err)
	}
	return connect(ctx, cfg, opts)
}

// options converts the file-based settings to client options, so that a missing file is named before anything is dialled.
func (cfg Config) options() ([]nats.Option, error) {
	var opts []nats.Option
	if cfg.Creds != "" {
		if _, err := os.Stat(cfg.Creds); err != nil {
			return nil, fmt.Errorf("creds file: %w", err)
		}
		opts = append(opts, nats.UserCredentials(cfg.Creds))
	}
	if cfg.NKey != "" {
		opt, err := nats.NkeyOptionFromSeed(cfg.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey seed file %s: %w", cfg.NKey, err)
		}
		opts = append(opts, opt)
	}
	if cfg.CA != "" {
		if _, err := os.Stat(cfg.CA); err != nil {
			return nil, fmt.Errorf("tls ca file: %w", err)
		}
		opts = append(opts, nats.RootCAs(cfg.CA))
	}
	if (cfg.Cert == "") != (cfg.Key == "") {
		return nil, fmt.Errorf("tls cert is %q and key is %q: give both or neither", cfg.Cert, cfg.Key)
	}
	if cfg.Cert != "" {
		opts = append(opts, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	return opts, nil
}

func connect(ctx context.Context, cfg Config, opts []nats.Option) (*Bus, error) {
	b := &Bus{patient: cfg.Patient, link: &link{
		node: cfg.Name, replicas: max(cfg.Replicas, 1), log: cfg.Log.With().Str("component", "bus").Logger(),
		async: make(chan struct{}, asyncInFlight), reconnected: make(chan struct{}), closed: make(chan struct{}),
	}}
	if b.node == "" {
		b.node, _ = os.Hostname()
	}
	opts = append([]nats.Option{ // what the caller adds comes last and wins
		nats.Name("tracefleet " + b.node),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // a server that restarts may refuse for a moment; the log shows it
		nats.CustomReconnectDelay(reconnectDelay),
		nats.PingInterval(20 * time.Second), nats.MaxPingsOutstanding(2), // a vanished host is noticed within a minute
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn().Err(err).Msg("broker connection lost, reconnecting")
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) {
			if f := refused(err); f != nil {
				b.report("reconnect to nats "+redact(cfg.URL), f)
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.log.Info().Str("url", nc.ConnectedUrlRedacted()).Msg("broker connection is back")
			b.denials.clear()
			b.signalReconnect()
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(b.closed) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				b.denials.add(err)
				b.log.Debug().Err(err).Msg("broker denies a permission")
				return
			}
			b.log.Warn().Err(err).Msg("broker reported an error")
		}),
	}, opts...)
	if err := b.dial(ctx, cfg, opts); err != nil {
		return nil, err
	}
	js, err := jetstream.New(b.nc, jetstream.WithPublishAsyncMaxPending(2*asyncInFlight), jetstream.WithPublishAsyncTimeout(10*time.Second))
	if err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("connect to nats %s: %w", redact(cfg.URL), err)
	}
	b.js = js
	if err := b.checkJetStream(ctx, redact(cfg.URL)); err != nil {
		b.nc.Close()
		return nil, err
	}
	return b, nil
}

// dial tries until the server accepts the connection, cfg.Wait is over or ctx ends. The roles of a fleet start in any order, so a server
// that is not there yet is normal; a wrong address must end in an error that names it. A server that refuses the connection is an error
// at once, or tried again without a limit where the Bus is patient.
func (b *Bus) dial(ctx context.Context, cfg Config, opts []nats.Option) error {
	wait := cfg.Wait
	if wait == 0 {
		wait = defaultWait
	}
	what := "connect to nats " + redact(cfg.URL)
	var last *proto.Failure
	for try, end := 1, time.Now().Add(wait); ; try++ {
		nc, err := nats.Connect(cfg.URL, opts...)
		if err == nil {
			b.nc = nc
			if last != nil {
				b.accepted(what, last)
			}
			return nil
		}
		delay, f := reconnectDelay(try), refused(err)
		switch {
		case f != nil && !b.patient:
			return refusedErr(what, f)
		case f != nil:
			b.report(what, f)
			last, delay, end = f, refusedDelay(try), time.Now().Add(refusedMax+wait)
		case time.Now().After(end):
			return fmt.Errorf("%s: no answer in %s: %w", what, wait, err)
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}

// checkJetStream asks the server whether this account has JetStream.
func (b *Bus) checkJetStream(ctx context.Context, url string) error {
	return b.retry(ctx, "ask nats "+url+" for JetStream", func(ctx context.Context) error {
		_, err := b.js.AccountInfo(ctx)
		return err
	})
}

// redact removes passwords and tokens from a list of URLs, for messages.
func redact(urls string) string {
	list := strings.Split(urls, ",")
	for i, text := range list {
		scheme, rest, ok := strings.Cut(text, "://")
		if !ok {
			scheme, rest = "", text
		}
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			list[i] = strings.TrimPrefix(scheme+"://xxxxx"+rest[at:], "://")
		}
	}
	return strings.Join(list, ",")
}

// reconnectDelay doubles from reconnectMin to reconnectMax, with jitter: a hundred nodes must not come back in one moment.
func reconnectDelay(tries int) time.Duration {
	d := reconnectMax
	if tries < 7 {
		d = min(reconnectMin<<max(tries-1, 0), reconnectMax)
	}
	return d/2 + rand.N(d/2)
}

func (b *Bus) signalReconnect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.reconnected)
	b.reconnected = make(chan struct{})
}

// nextReconnect returns a channel that is closed at the next reconnect.
func (b *Bus) nextReconnect() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reconnected
}

// Node returns the name of this process in dead letters.
func (b *Bus) Node() string { return b.node }

// JetStream returns the client, for the tensor store and for tests; roles do without it.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Closed returns a channel that is closed when the connection has ended for good: after Close, or where it does not reconnect.
func (b *Bus) Closed() <-chan struct{} { return b.closed }

// Connected reports whether the broker can be reached now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Flush waits until the broker has received what was sent before, events included; five seconds at most.
func (b *Bus) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush broker connection: %w", err)
	}
	return nil
}

// Close sends what is buffered and closes the connection. Consumers must have ended before.
func (b *Bus) Close() {
	if b.nc.IsConnected() {
		_ = b.nc.FlushTimeout(2 * time.Second) // only events can still be buffered; they may be lost
	}
	b.nc.Close()
	<-b.closed
}
