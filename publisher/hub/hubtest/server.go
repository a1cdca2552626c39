package hubtest

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"time"
)

// TB is what New needs of a test.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(f func())
	TempDir() string
}

// Server is a Hub that listens.
type Server struct {
	URL     string // the endpoint
	Storage string // where large files are, another origin
	Token   string // of the first user
	Fresh   bool   // the repository was made by this Start, and was not in Options.Dir before

	hub       *hub
	servers   []*http.Server
	listeners []net.Listener
	remove    string // directory that goes with the server
}

// New starts a Hub for a test. It ends with the test, and reports then what should not have been asked of it.
func New(t TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := Start(o)
	if err != nil {
		t.Fatalf("start the Hub: %v", err)
	}
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			t.Errorf("asked of the Hub: %s", v)
		}
	})
	return s
}

// Start starts a Hub. Close ends it.
func Start(o Options) (_ *Server, err error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	s := &Server{Token: o.Users[0].Token}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "hub"); err != nil {
			return nil, err
		}
		s.remove = o.Dir
	}
	if s.hub, err = newHub(o, o.Dir); err != nil {
		return nil, err
	}
	s.Fresh = s.hub.fresh
	front, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, err
	}
	s.listeners = append(s.listeners, front)
	host, _, _ := net.SplitHostPort(front.Addr().String())
	behind, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, err
	}
	s.listeners = append(s.listeners, behind)
	s.URL, s.Storage = "http://"+front.Addr().String(), "http://"+behind.Addr().String()
	s.hub.base = func() string { return s.URL }
	s.hub.storage = func() string { return s.Storage }
	for i, mux := range []*http.ServeMux{hubRoutes(s.hub), storageRoutes(s.hub)} {
		server := &http.Server{Handler: s.hub.around(mux), ReadHeaderTimeout: time.Minute}
		s.servers = append(s.servers, server)
		go func() {
			if err := server.Serve(s.listeners[i]); !errors.Is(err, http.ErrServerClosed) {
				s.hub.note("serving ended: %v", err)
			}
		}()
	}
	return s, nil
}

// Close ends the server, after a moment for what it is answering, and removes what is temporary.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, server := range s.servers {
		if server.Shutdown(ctx) != nil {
			_ = server.Close()
		}
	}
	for _, l := range s.listeners[len(s.servers):] {
		_ = l.Close()
	}
	if s.hub != nil {
		_ = s.hub.store.lock.Unlock()
	}
	if s.remove != "" {
		_ = os.RemoveAll(s.remove)
	}
}

// Env gives the environment in which Hub clients use this Hub.
func (s *Server) Env() []string {
	return []string{"HF_ENDPOINT=" + s.URL, "HF_TOKEN=" + s.Token, "HF_HUB_DISABLE_XET=1"}
}

// Violations gives what was asked of the Hub that should not have been.
func (s *Server) Violations() []string {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return slices.Clone(s.hub.violations)
}

// Count gives how many requests of a kind there were, answered or not.
func (s *Server) Count(kind Kind) int { return s.Counts()[kind] }

// Counts gives how many requests of each kind there were.
func (s *Server) Counts() map[Kind]int {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return maps.Clone(s.hub.counts)
}

// Received gives how many bytes storage was sent of an object, by its SHA-256, in all tries together.
func (s *Server) Received(sha256 string) int64 {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return s.hub.received[sha256]
}

// ExpireURLs ends the validity of everything that was signed so far.
func (s *Server) ExpireURLs() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.epoch++
}

// ForgetUploads ends the multipart uploads that were not completed, as storage does after a while.
func (s *Server) ForgetUploads() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	clear(s.hub.uploads)
}

// Hold keeps the repository busy, as with another commit, until the function is called that it gives.
func (s *Server) Hold() (release func()) {
	s.hub.busy.Lock()
	return s.hub.busy.Unlock
}
