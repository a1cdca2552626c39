package bus_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/internal/bus"
)

func TestLocalBroker_OnlyWithItsToken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	server, err := bus.StartEmbedded(bus.Embedded{StateDir: dir, Local: true, Log: zerolog.New(zerolog.SyncWriter(&log))})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	own, err := server.Connect(t.Context(), "owner")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()

	guest, err := bus.ConnectLocal(t.Context(), dir, bus.Config{Name: "guest", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	guest.Close()
	if nc, err := nats.Connect(server.URL(), nats.Timeout(5*time.Second)); !errors.Is(err, nats.ErrAuthorization) {
		if err == nil {
			nc.Close()
		}
		t.Errorf("without the token: %v, want %v", err, nats.ErrAuthorization)
	}
	file, err := os.ReadFile(filepath.Join(dir, "broker.json"))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "broker.json"))
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o600 {
		t.Errorf("broker.json has mode %o, want 600: the token is in it", mode)
	}
	if _, err := bus.StartEmbedded(bus.Embedded{StateDir: dir, Local: true, Log: zerolog.Nop()}); !errors.Is(err, bus.ErrStateDirInUse) {
		t.Errorf("a second broker on the directory: %v, want %v", err, bus.ErrStateDirInUse)
	}

	own.Close()
	server.Close()
	var address struct{ Token string }
	if err := json.Unmarshal(file, &address); err != nil || address.Token == "" || bytes.Contains(log.Bytes(), []byte(address.Token)) {
		t.Errorf("the token %q (%v) must be in its file and not in the log", address.Token, err)
	}
	if _, err := bus.ConnectLocal(t.Context(), dir, bus.Config{Log: zerolog.Nop()}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the broker ended: %v, want %v", err, os.ErrNotExist)
	}
}
