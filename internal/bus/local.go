package bus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/nats-io/nats.go"
)

// localAddress is what StateDir/broker.json holds while a Local broker runs. Only the user who started it can read the file,
// and without the token the port lets nobody in: other users of the machine have no business in a collection.
type localAddress struct {
	URL   string `json:"url"`
	Token string `json:"token"`
	PID   int    `json:"pid"`
}

const localListen = "127.0.0.1:0"

func localPath(stateDir string) string { return filepath.Join(stateDir, "broker.json") }

// announceLocal writes where the broker listens.
func (s *Server) announceLocal() error {
	_, port, err := net.SplitHostPort(s.srv.Addr().String())
	if err != nil {
		return fmt.Errorf("start broker: %w", err)
	}
	data, err := json.Marshal(localAddress{URL: "nats://127.0.0.1:" + port, Token: s.token, PID: os.Getpid()})
	if err != nil {
		return fmt.Errorf("start broker: %w", err)
	}
	// Removed first: a file that is there keeps its mode when it is written, and this one must never be readable by others.
	path := localPath(s.dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return stateDirFailure("start broker", err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return stateDirFailure("start broker", err)
	}
	return nil
}

// ConnectLocal joins the broker that another process of this user has on a state directory, started with Embedded.Local. It
// does not wait for that process to come back: when it ends, Closed does. Of cfg only Name, Wait and Log are used.
func ConnectLocal(ctx context.Context, stateDir string, cfg Config) (*Bus, error) {
	path := localPath(stateDir)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("join the broker on %s: %w", stateDir, err)
	}
	var at localAddress
	if err := json.Unmarshal(data, &at); err != nil {
		return nil, fmt.Errorf("join the broker on %s: %s: %w", stateDir, path, err)
	}
	return connect(ctx, Config{URL: at.URL, Name: cfg.Name, Wait: cfg.Wait, Log: cfg.Log}, []nats.Option{nats.Token(at.Token), nats.NoReconnect()})
}

func newToken() string { return rand.Text() }
