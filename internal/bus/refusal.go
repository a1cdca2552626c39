package bus

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// A refusal is an error of the broker that lasts until a person changes the server's configuration, the account or the credentials. An
// interactive command ends with it (Bus); a role reports it and keeps trying (Bus.Patient).

// refusal is how one of the broker's error codes is reported.
type refusal struct {
	code   proto.Code
	remedy string
}

const (
	moreStorage   = "raise the JetStream storage of the account or the server, or pass a smaller --stream-max-bytes SIZE (64MB or more)"
	moreStreams   = "raise the account's or the server's limit: tracefleet needs 16 streams (8, and one for each of its 8 buckets)"
	moreConsumers = "raise the account's or the server's limit of consumers"
	enableJS      = "start nats-server with -js (or a jetstream block), and enable JetStream for the account"
	setSizes      = "pass --stream-max-bytes SIZE, within the account's limits"
)

// refusals are the lasting errors among those of nats-server 2.15.2 (server/errors.json). 10077 is not among them: see streamFull.
var refusals = map[jetstream.ErrorCode]refusal{
	10002: {proto.CodeDiskFull, moreStorage},                                                        // resource limits exceeded for account
	10005: {proto.CodeBrokerRefused, "add servers to the cluster, or free their storage"},           // no suitable peers for placement
	10010: {proto.CodeBrokerRefused, "run the servers as a cluster, or ask for one replica"},        // JetStream clustering support required
	10023: {proto.CodeDiskFull, moreStorage},                                                        // insufficient resources
	10026: {proto.CodeBrokerRefused, moreConsumers},                                                 // maximum consumers limit reached
	10027: {proto.CodeBrokerRefused, moreStreams},                                                   // maximum number of streams reached
	10028: {proto.CodeDiskFull, "raise the JetStream memory of the account or the server"},          // insufficient memory resources available
	10035: {proto.CodeBrokerRefused, "check the credentials: their account is not on this server"},  // account not found
	10039: {proto.CodeBrokerRefused, enableJS},                                                      // JetStream not enabled for account
	10047: {proto.CodeDiskFull, moreStorage},                                                        // insufficient storage resources available
	10053: {proto.CodeBrokerRefused, setSizes},                                                      // stream limits
	10074: {proto.CodeBrokerRefused, "run the servers as a cluster, or ask for one replica"},        // replicas > 1 not supported in non-clustered mode
	10076: {proto.CodeBrokerRefused, enableJS},                                                      // JetStream not enabled
	10113: {proto.CodeBrokerRefused, setSizes},                                                      // account requires a stream config to have max bytes set
	10120: {proto.CodeBrokerRefused, "set JetStream limits of the account for the replicas in use"}, // no JetStream default or applicable tiered limit present
	10121: {proto.CodeBrokerRefused, "raise max_ack_pending of the server's JetStream limits"},      // consumer max ack pending exceeds system limit
	10122: {proto.CodeBrokerRefused, "pass a smaller --stream-max-bytes"},                           // stream max bytes exceeds account limit max stream bytes
	10185: {proto.CodeBrokerRefused, "run nats-server 2.12 or later"},                               // JetStream minimum api level required
}

// disabledGrace is how long "JetStream not enabled" may last before it is a refusal: a server that starts answers so for a moment.
const disabledGrace = 2 * time.Second

// refused returns the failure of a lasting refusal, or nil if err is none.
func refused(err error) *proto.Failure {
	if err == nil {
		return nil
	}
	var f *proto.Failure
	if errors.As(err, &f) {
		if f.Code == proto.CodeBrokerRefused {
			return f
		}
		return nil
	}
	for _, r := range []struct {
		is     error
		remedy string
	}{
		{nats.ErrAuthorization, "check --creds, --nkey, or the user and password in the --nats URL"},
		{nats.ErrAuthExpired, "renew the credentials"},
		{nats.ErrAuthRevoked, "use other credentials"},
		{nats.ErrAccountAuthExpired, "renew the account's JWT"},
		{nats.ErrNkeysNotSupported, "the server has no nkeys: use other credentials"},
		{nats.ErrSecureConnRequired, "pass --tlsca FILE, or a tls:// URL"},
		{nats.ErrSecureConnWanted, "the server has no TLS: leave --tlsca out, or use a nats:// URL"},
	} {
		if errors.Is(err, r.is) {
			return proto.Failf(proto.CodeBrokerRefused, "%v", err).WithHint("%s", r.remedy)
		}
	}
	if badCertificate(err) {
		return proto.Failf(proto.CodeBrokerRefused, "%v", err).WithHint("check --tlsca, --tlscert, --tlskey and the host name of the --nats URL")
	}
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return nil
	}
	if streamFull(api) {
		return proto.Failf(proto.CodeDiskFull, "the stream is full: %v", err).
			WithHint("pass a larger --stream-max-bytes to the coordinator; a work queue accepts messages again when others were processed")
	}
	if r, ok := refusals[api.ErrorCode]; ok {
		return proto.Failf(r.code, "%v", err).WithHint("%s", r.remedy)
	}
	return nil
}

// badCertificate reports whether err is a failed verification of a certificate, by this side or by the server.
func badCertificate(err error) bool {
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &invalid) ||
		strings.Contains(err.Error(), "remote error: tls:")
}

// streamFull reports whether a stream refused a message because of its own limits: it takes messages again after some were read.
func streamFull(api *jetstream.APIError) bool {
	return api.ErrorCode == 10077 && strings.Contains(api.Description, "maximum ")
}

// StorageFailure returns the failure of a message that the broker refused to store, with a remedy; other errors as they are.
func StorageFailure(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) || errors.Is(err, jetstream.ErrStreamMessageExceedsMaximum) {
		return proto.Failf(proto.CodeMessageTooLarge, "broker refused the message: %v", err).
			WithHint("set max_payload of the NATS server to 1MB or more")
	}
	if f := refused(err); f != nil {
		return f
	}
	return err
}

// denials holds the permission violations that the broker reported. It reports them beside the request: the request itself gets no
// answer.
type denials struct {
	mu      sync.Mutex
	last    map[string]time.Time // by the broker's text
	arrived chan struct{}        // closed and replaced at each
}

// add records a violation.
func (d *denials) add(err error) {
	_, text, _ := strings.Cut(err.Error(), nats.ErrPermissionViolation.Error()+": ")
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last == nil || len(d.last) > 100 {
		d.last = map[string]time.Time{}
	}
	d.last[text] = time.Now()
	if d.arrived != nil {
		close(d.arrived)
		d.arrived = nil
	}
}

// next returns a channel that is closed at the next violation.
func (d *denials) next() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.arrived == nil {
		d.arrived = make(chan struct{})
	}
	return d.arrived
}

// clear forgets all: a new connection may have other permissions.
func (d *denials) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = nil
}

// since returns the failure of a violation that was reported after start, or nil. A refused subscription is reported once and refuses
// every answer until the next connection, so its time does not matter.
func (d *denials) since(start time.Time) *proto.Failure {
	d.mu.Lock()
	defer d.mu.Unlock()
	for text, at := range d.last {
		if at.Before(start) && !strings.Contains(text, "for Subscription") {
			continue
		}
		return proto.Failf(proto.CodeBrokerRefused, "the broker refuses this user: %s", text).
			WithHint("allow it in the user's permissions (docs/operations.md lists them), or use other credentials")
	}
	return nil
}

// reports limits what is logged about refusals to a line a change.
type reports struct {
	mu   sync.Mutex
	last map[string]time.Time // when a text was logged last
}

const reportAgain = time.Minute // the same text is logged again after this

// fresh reports whether text should be logged now.
func (r *reports) fresh(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if at, ok := r.last[text]; ok && now.Sub(at) < reportAgain {
		return false
	}
	if r.last == nil || len(r.last) > 100 {
		r.last = map[string]time.Time{}
	}
	r.last[text] = now
	return true
}

// forget removes a text, so that its next report is logged at once. It returns whether it had been reported.
func (r *reports) forget(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.last[text]
	delete(r.last, text)
	return ok
}

// report logs a refusal that is waited out, once a change.
func (b *Bus) report(what string, f *proto.Failure) {
	if b.reports.fresh(f.Message) {
		b.log.Error().Str("doing", what).Str("code", string(f.Code)).Str("remedy", f.Hint).Msg(f.Message + "; trying again until it is accepted")
	}
}

// accepted logs that what was refused is accepted again.
func (b *Bus) accepted(what string, f *proto.Failure) {
	if b.reports.forget(f.Message) {
		b.log.Info().Str("doing", what).Msg("the broker accepts it again")
	}
}

// refusedErr wraps a refusal with what was attempted.
func refusedErr(what string, f *proto.Failure) error { return fmt.Errorf("%s: %w", what, f) }
