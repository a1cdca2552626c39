package bus_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/internal/bus/bustest"
	"github.com/tracefleet/tracefleet/proto"
)

const withJetStream = "jetstream { store_dir: \"STORE\" }\n"

// account is a configuration of one account with JetStream, its limits and the permissions of its user.
func account(limits, permissions string) string {
	return withJetStream + "accounts { APP { users: [ { user: app, password: pw, " + permissions + " } ], jetstream: " + limits + " } }"
}

// open connects and creates everything.
func open(t *testing.T, cfg bus.Config) (*bus.Bus, error) {
	t.Helper()
	b, err := bus.Connect(t.Context(), cfg)
	if err != nil {
		return nil, err
	}
	t.Cleanup(b.Close)
	return b, b.Ensure(t.Context())
}

func as(user, url string) string { return strings.Replace(url, "nats://", "nats://"+user+"@", 1) }

// A lasting refusal of the broker ends a command within seconds, with the refused request and a remedy.
func TestConnect_LastingRefusal_FailsWithinSeconds(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		config       string
		user         string
		want, remedy string
	}{
		"JetStream off":                 {"", "", "jetstream not enabled", "-js"},
		"JetStream off for the account": {withJetStream + "accounts { APP { users: [ { user: app, password: pw } ] } }", "app:pw", "jetstream not enabled for account", "enable JetStream"},
		"maximum streams":               {account("{ max_file: 2G, max_streams: 3 }", ""), "app:pw", "maximum number of streams reached", "16 streams"},
		"maximum consumers":             {account("{ max_file: 2G, max_consumers: 2 }", ""), "app:pw", "maximum consumers limit reached", "consumers"},
		"no storage for the log":        {account("{ max_file: 1K, max_streams: 40 }", ""), "app:pw", "insufficient storage", "--stream-max-bytes"},
		"sizes demanded, no room":       {account("{ max_file: 8M, max_bytes_required: true }", ""), "app:pw", "requires a size", "--stream-max-bytes"},
		"wrong password":                {account("enabled", ""), "app:no", "Authorization Violation", "--creds"},
		"unknown certificate":           {certificate(t), "", "certificate", "--tlsca"},
		"no API":                        {account("enabled", `permissions: { publish: { deny: "$JS.API.>" } }`), "app:pw", `Publish to "$JS.API.INFO"`, "permissions"},
		"no answers":                    {account("enabled", `permissions: { subscribe: { deny: "_INBOX.>" } }`), "app:pw", `Subscription to "_INBOX.`, "permissions"},
		"no creation":                   {account("enabled", `permissions: { publish: { deny: "$JS.API.STREAM.CREATE.>" } }`), "app:pw", `"$JS.API.STREAM.CREATE.TF_SUBMIT"`, "permissions"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := bustest.StartConfigured(t, tc.config)
			if tc.user != "" {
				url = as(tc.user, url)
			}
			began := time.Now()
			_, err := open(t, bus.Config{URL: url, Name: "test", Log: bustest.Log(t)})
			var f *proto.Failure
			require.ErrorAs(t, err, &f)
			require.Less(t, time.Since(began), 9*time.Second)
			require.ErrorContains(t, err, tc.want)
			require.Contains(t, f.Hint, tc.remedy)
			require.NotContains(t, err.Error(), "pw")
		})
	}
}

// certificate returns the TLS block of a server whose certificate no authority signed.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: der}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600))
	}
	return fmt.Sprintf("tls { cert_file: %q, key_file: %q }", filepath.Join(dir, "cert"), filepath.Join(dir, "key"))
}

// A list that the broker denies is an error, not a wait: jobs and fleet are made of lists.
func TestList_DeniedBucket_FailsWithinSeconds(t *testing.T) {
	t.Parallel()
	url := bustest.StartConfigured(t, account("enabled", `permissions: { publish: { deny: "$JS.API.CONSUMER.CREATE.KV_tf_collections.>" } }`))
	b, err := open(t, bus.Config{URL: as("app:pw", url), Name: "test", Log: bustest.Log(t)})
	require.NoError(t, err)
	records, err := bus.OpenRecord[proto.CollectionState](t.Context(), b, proto.BucketCollections)
	require.NoError(t, err)
	began := time.Now()
	_, err = records.List(t.Context(), ">")
	require.ErrorContains(t, err, "CONSUMER.CREATE.KV_tf_collections")
	require.Less(t, time.Since(began), 9*time.Second)
}

func TestProbe_DeniedWrite_IsNamed(t *testing.T) {
	t.Parallel()
	require.NoError(t, bustest.Start(t).Probe(t.Context()))
	url := bustest.StartConfigured(t, account("enabled", `permissions: { publish: { deny: "$KV.tf_workers.>" } }`))
	b, err := open(t, bus.Config{URL: as("app:pw", url), Name: "test", Log: bustest.Log(t)})
	require.NoError(t, err)
	require.ErrorContains(t, b.Probe(t.Context()), "$KV.tf_workers.probe-test")
}

// lines is a log that several goroutines write.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// matching returns the messages of the log that contain text.
func (l *lines) matching(t *testing.T, text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.buf.String()) {
		var e struct{ Message string }
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		if strings.Contains(e.Message, text) {
			found = append(found, e.Message)
		}
	}
	return found
}

// A role waits for what a broker refuses: it reports it once, and goes on when it is accepted.
func TestConnect_LastingRefusal_PatientWaits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ config, user, want string }{
		"JetStream off":  {"", "", "jetstream not enabled"},
		"wrong password": {account("enabled", ""), "app:no", "Authorization Violation"},
		"no API":         {account("enabled", `permissions: { publish: { deny: "$JS.API.>" } }`), "app:pw", "$JS.API.INFO"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := bustest.StartConfigured(t, tc.config)
			if tc.user != "" {
				url = as(tc.user, url)
			}
			var log lines
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
			defer cancel()
			_, err := bus.Connect(ctx, bus.Config{URL: url, Patient: true, Wait: time.Second, Log: zerolog.New(&log)})
			require.ErrorIs(t, err, context.DeadlineExceeded, "it waits until its context ends")
			require.Len(t, log.matching(t, tc.want), 1, "said once, not at each try")
		})
	}
}

// What a running role is refused is reported to the user of the collection, and done when there is room.
func TestPublish_FullWorkQueue_RefusesThenWaits(t *testing.T) {
	t.Parallel()
	b := bustest.Start(t)
	resize(t, b, proto.StreamTasks, 4<<10)
	first := publishUntilFull(t, b)
	require.Positive(t, first)
	st, err := b.JetStream().Stream(t.Context(), proto.StreamTasks)
	require.NoError(t, err)
	require.Equal(t, uint64(first), st.CachedInfo().State.Msgs, "what was acknowledged is kept")

	var log lines
	waits := make(chan error, 1)
	go func() { waits <- b.Patient().Publish(t.Context(), "tf.tasks.simulate.c-1.late", task("late"), "") }()
	events := make(chan *proto.Event, 10)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		_ = b.Follow(ctx, proto.EventFilter("c-1"), time.Time{}, func(e *proto.Event) error { events <- e; return nil })
	}()
	e := <-events
	require.Equal(t, proto.LevelWarn, e.Level)
	require.Equal(t, proto.CodeDiskFull, e.Failure.Code)
	require.Contains(t, e.Failure.Hint, "--stream-max-bytes")
	require.Empty(t, waits)
	require.NoError(t, b.Purge(t.Context(), proto.StreamTasks, ">"))
	require.NoError(t, <-waits)
	require.Empty(t, log.matching(t, ""))
}

// publishUntilFull returns how many messages the stream took before it refused one.
func publishUntilFull(t *testing.T, b *bus.Bus) int {
	t.Helper()
	for n := range 1000 {
		id := "t" + strings.Repeat("0", 3) + string(rune('a'+n%26)) + strings.Repeat("x", n/26)
		err := b.Publish(t.Context(), "tf.tasks.simulate.c-1."+id, task(id), "")
		if err != nil {
			var f *proto.Failure
			require.ErrorAs(t, err, &f)
			require.Equal(t, proto.CodeDiskFull, f.Code)
			return n
		}
	}
	t.Fatal("the stream takes everything")
	return 0
}

func resize(t *testing.T, b *bus.Bus, stream string, size int64) {
	t.Helper()
	st, err := b.JetStream().Stream(t.Context(), stream)
	require.NoError(t, err)
	cfg := st.CachedInfo().Config
	cfg.MaxBytes = size
	_, err = b.JetStream().UpdateStream(t.Context(), cfg)
	require.NoError(t, err)
}

// Every code that lasts has a remedy, and none of those that pass by themselves is among them.
func TestRefusals_CodesOfTheServer(t *testing.T) {
	t.Parallel()
	for code, lasting := range map[jetstream.ErrorCode]bool{
		10039: true, 10076: true, 10023: true, 10026: true, 10027: true, 10028: true, 10047: true, 10113: true, 10120: true, 10122: true, 10002: true,
		10004: false, 10008: false, 10009: false, 10058: false, 10059: false, 10063: false, 10071: false, 10163: false, 10164: false, 10167: false,
	} {
		err := bus.StorageFailure(&jetstream.APIError{ErrorCode: code, Code: 503, Description: "x"})
		var f *proto.Failure
		require.Equal(t, lasting, errors.As(err, &f), "%d", code)
		if lasting {
			require.NotEmpty(t, f.Hint, "%d", code)
		}
	}
}
