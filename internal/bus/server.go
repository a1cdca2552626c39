package bus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/disk"
	"github.com/tracefleet/tracefleet/proto"
)

// ErrStateDirInUse is what StartEmbedded returns when another process has its broker in the state directory.
var ErrStateDirInUse = errors.New("state directory is in use")

// Embedded says how to bring the broker along.
type Embedded struct {
	StateDir string // the broker's files are in StateDir/jetstream
	Listen   string // host:port for other processes, port 0 for any; empty: this process only
	Local    bool   // with Listen empty: let other processes of this user join, see ConnectLocal
	Log      zerolog.Logger
}

// Server is a broker inside this process.
type Server struct {
	failed chan struct{} // closed when the broker cannot store any more
	logger *serverLog
	dir    string // state directory
	token  string // what clients must show where the broker listens for this user only; empty: anyone may come
	srv    *server.Server
	lock   *flock.Flock
	log    zerolog.Logger // the broker's own
	base   zerolog.Logger // the caller's, for connections
	once   sync.Once
}

const startTimeout = 60 * time.Second // recovery reads every stream's index; thousands of messages take a second or two

// StartEmbedded starts a JetStream broker on cfg.StateDir. Every write is synced before it is acknowledged, so that what was
// acknowledged survives the process and the machine. Only one broker can have a state directory; the second one to come gets
// ErrStateDirInUse.
func StartEmbedded(cfg Embedded) (*Server, error) {
	if cfg.StateDir == "" {
		return nil, errors.New("start broker: state directory is empty")
	}
	if err := os.MkdirAll(cfg.StateDir, 0o755); err != nil {
		return nil, stateDirFailure("start broker", err)
	}
	lock, err := lockStateDir(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: cfg.StateDir, lock: lock, base: cfg.Log, log: cfg.Log.With().Str("component", "broker").Logger()}
	if cfg.Local && cfg.Listen == "" {
		cfg.Listen, s.token = localListen, newToken()
	}
	if err := s.start(cfg); err != nil {
		_ = lock.Close()
		return nil, err
	}
	if s.token != "" {
		if err := s.announceLocal(); err != nil {
			s.Close()
			return nil, err
		}
	}
	return s, nil
}

func lockStateDir(dir string) (*flock.Flock, error) {
	path := filepath.Join(dir, "broker.lock")
	lock := flock.New(path)
	ok, err := lock.TryLock()
	if err != nil {
		return nil, stateDirFailure("lock state directory "+dir, err)
	}
	if !ok {
		holder := "another process"
		if pid, err := os.ReadFile(path); err == nil && len(pid) > 0 {
			holder = "process " + strings.TrimSpace(string(pid))
		}
		return nil, fmt.Errorf("%w: %s holds %s; use another --state-dir, or join that broker with --nats", ErrStateDirInUse, holder, dir)
	}
	// Only for the message above; the lock itself is the kernel's and ends with the process.
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		_ = lock.Close()
		return nil, stateDirFailure("lock state directory "+dir, err)
	}
	return lock, nil
}

// stateDirFailure adds the remedy to an error of the state directory.
func stateDirFailure(what string, err error) error {
	switch {
	case disk.Full(err):
		return proto.Failf(proto.CodeDiskFull, "%s: %v", what, err).WithHint("free space, or pass another --state-dir")
	case disk.ReadOnly(err):
		return proto.Failf(proto.CodeBrokerRefused, "%s: %v", what, err).WithHint("pass a writable --state-dir")
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *Server) start(cfg Embedded) error {
	opts := &server.Options{
		ServerName: "tracefleet", JetStream: true, StoreDir: cfg.StateDir, SyncAlways: true,
		// Else three quarters of what is free now, of which the event log's limit would be reserved at once: a disk with less
		// than 1.4 GB could hold no collection at all. A disk that is full says so by itself.
		JetStreamMaxStore: 1 << 50,
		NoSigs:            true, NoSystemAccount: false, DisableJetStreamBanner: true, DontListen: cfg.Listen == "",
		Authorization: s.token,
	}
	if cfg.Listen != "" {
		host, port, err := net.SplitHostPort(cfg.Listen)
		if err != nil {
			return fmt.Errorf("start broker: listen address %q: %w", cfg.Listen, err)
		}
		opts.Host = host
		if opts.Port, err = strconv.Atoi(port); err != nil || opts.Port < 0 || opts.Port > 65535 {
			return fmt.Errorf("start broker: listen address %q: port %q is not a number up to 65535", cfg.Listen, port)
		}
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		}
	}
	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("start broker in %s: %w", cfg.StateDir, err)
	}
	s.failed = make(chan struct{})
	logger := &serverLog{log: s.log, failed: s.failed}
	s.logger = logger
	srv.SetLoggerV2(logger, false, false, false)
	s.srv = srv
	srv.Start()
	ready := false
	for start := time.Now(); !ready && logger.lastFatal() == "" && time.Since(start) < startTimeout; {
		ready = srv.ReadyForConnections(100 * time.Millisecond)
	}
	if !ready || !srv.JetStreamEnabled() {
		srv.Shutdown()
		srv.WaitForShutdown()
		if fatal := logger.lastFatal(); fatal != "" {
			return fmt.Errorf("start broker in %s: %s", cfg.StateDir, fatal)
		}
		return fmt.Errorf("start broker in %s: not ready in %s", cfg.StateDir, startTimeout)
	}
	if host, _, err := net.SplitHostPort(cfg.Listen); err == nil && s.token == "" && !loopback(host) {
		s.log.Warn().Str("listen", s.URL()).Msg("the embedded broker asks nobody who they are: whoever reaches this address can submit and read; give it a loopback address, or run nats-server with accounts and TLS")
	}
	s.log.Info().Str("dir", cfg.StateDir).Str("listen", s.URL()).Msg("broker is up")
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Connect opens a connection to the broker inside the process, without a socket.
func (s *Server) Connect(ctx context.Context, name string) (*Bus, error) {
	return connect(ctx, Config{Name: name, URL: "(embedded)", Log: s.base}, []nats.Option{nats.InProcessServer(s.srv), nats.Token(s.token)})
}

// URL is where other processes find the broker; empty when it listens for none.
func (s *Server) URL() string {
	if s.srv.Addr() == nil {
		return ""
	}
	return s.srv.ClientURL()
}

// Close stops the broker and gives the state directory free. Connections should be closed before.
func (s *Server) Close() {
	s.once.Do(func() {
		s.srv.Shutdown()
		s.srv.WaitForShutdown()
		if s.token != "" {
			_ = os.Remove(localPath(s.dir)) // left behind it would only make a later command try a port where nobody is
		}
		_ = s.lock.Close() // closing the file frees the lock whatever happens
	})
}

// Failed is closed when the broker has given up storing: its disk is full or broken. It does not recover by itself, also not
// when there is room again; the process has to be started anew. Err says what it said.
func (s *Server) Failed() <-chan struct{} { return s.failed }

// Err gives the failure after Failed is closed.
func (s *Server) Err() error {
	return proto.Failf(proto.CodeDiskFull, "the broker on %s cannot store any more: %s", s.dir, s.logger.lastCritical()).
		WithHint("make room on that disk, then start the same command again: it goes on from what was stored")
}

// serverLog is the server's logger. What a broker says when all is well is noise in a log about collections.
type serverLog struct {
	log      zerolog.Logger
	mu       sync.Mutex
	fatal    string
	critical string
	failed   chan struct{}
}

// critical are parts of what the server logs, and only logs, when it stops writing.
var critical = []string{"ritical write error", "resources, will be DISABLED"}

func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug().Msgf(format, v...) }
func (l *serverLog) Warnf(format string, v ...any)   { l.log.Warn().Msgf(format, v...) }
func (l *serverLog) Debugf(format string, v ...any)  { l.log.Trace().Msgf(format, v...) }
func (l *serverLog) Tracef(format string, v ...any)  { l.log.Trace().Msgf(format, v...) }

// Errorf logs, and notices the broker's end as a store.
func (l *serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error().Msg(text)
	if !slices.ContainsFunc(critical, func(part string) bool { return strings.Contains(text, part) }) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.critical == "" {
		l.critical = text
		close(l.failed)
	}
}

func (l *serverLog) lastCritical() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.critical
}

// Fatalf keeps the message: the server's own loggers exit here, an embedded one must not.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	l.fatal = fmt.Sprintf(format, v...)
	l.mu.Unlock()
	l.log.Error().Msgf(format, v...)
}

func (l *serverLog) lastFatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}
