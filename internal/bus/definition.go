package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tracefleet/tracefleet/proto"
)

// PutDefinition stores a definition's JSON and gives its digest, the key it has from now on.
func (b *Bus) PutDefinition(ctx context.Context, json []byte) (digest string, err error) {
	if len(json) > proto.MaxMessageBytes {
		return "", proto.Failf(proto.CodeBadDefinition, "store definition: %d bytes of JSON, the limit is %d", len(json), proto.MaxMessageBytes)
	}
	digest = digestOf(json)
	kv, err := b.bucket(ctx, proto.BucketDefinitions)
	if err != nil {
		return "", err
	}
	err = b.retry(ctx, "store definition "+digest, func(ctx context.Context) error {
		_, err := kv.Create(ctx, digest, json)
		if errors.Is(err, jetstream.ErrKeyExists) {
			return nil // by content: what is there is the same
		}
		return err
	})
	return digest, err
}

// Definition gives the JSON that PutDefinition stored under digest, checked against it. ErrNotFound if there is none.
func (b *Bus) Definition(ctx context.Context, digest string) ([]byte, error) {
	kv, err := b.bucket(ctx, proto.BucketDefinitions)
	if err != nil {
		return nil, err
	}
	var json []byte
	err = b.retry(ctx, "get definition "+digest, func(ctx context.Context) error {
		e, err := kv.Get(ctx, digest)
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			return ErrNotFound
		}
		if err == nil {
			json = e.Value()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if have := digestOf(json); have != digest {
		return nil, fmt.Errorf("get definition %s: stored JSON has digest %s", digest, have)
	}
	return json, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
