package proto

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vmihailenco/msgpack/v5"
)

var update = flag.Bool("update", false, "write the goldens of the messages anew: a difference is a protocol change")

// decoders gives Decode for each kind, with the message encoded again.
var decoders = map[Kind]func([]byte) (Message, error){
	KindCollection:      decoder[Collection],
	KindTask:            decoder[Task],
	KindManifest:        decoder[Manifest],
	KindVerdict:         decoder[Verdict],
	KindPublish:         decoder[Publish],
	KindEvent:           decoder[Event],
	KindWorker:          decoder[Worker],
	KindFailure:         decoder[Failure],
	KindDead:            decoder[Dead],
	KindCollectionState: decoder[CollectionState],
	KindTaskState:       decoder[TaskState],
	KindPublication:     decoder[Publication],
	KindPush:            decoder[Push],
	KindPushState:       decoder[PushState],
}

func decoder[T any, P interface {
	*T
	Message
}](data []byte) (Message, error) {
	m, err := Decode[T, P](data)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func TestSamples_EveryKindAndEveryField(t *testing.T) {
	t.Parallel()
	kinds := map[Kind]bool{}
	for _, m := range samples() {
		kinds[m.Kind()] = true
		require.NoError(t, m.Validate(), m.Kind())
		everyFieldSet(t, string(m.Kind()), reflect.ValueOf(m).Elem())
	}
	require.Len(t, kinds, len(decoders))
}

// everyFieldSet fails on a field that a golden would not show: a new field needs a value in its sample.
func everyFieldSet(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch {
	case v.Kind() == reflect.Pointer:
		everyFieldSet(t, path, v.Elem())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		for i := range v.Len() {
			everyFieldSet(t, fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case v.Kind() == reflect.Struct && v.Type().PkgPath() != "time":
		for i := range v.NumField() {
			name := path + "." + v.Type().Field(i).Name
			require.False(t, v.Field(i).IsZero(), "%s is not set in its sample", name)
			everyFieldSet(t, name, v.Field(i))
		}
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, m := range samples() {
		t.Run(string(m.Kind()), func(t *testing.T) {
			t.Parallel()
			wire, err := Encode(m)
			require.NoError(t, err)
			text, err := json.MarshalIndent(m, "", "  ")
			require.NoError(t, err)
			text = append(text, '\n')
			wirePath, textPath := filepath.Join("testdata", string(m.Kind())+".msgpack"), filepath.Join("testdata", string(m.Kind())+".json")
			if *update {
				require.NoError(t, os.WriteFile(wirePath, wire, 0o644))
				require.NoError(t, os.WriteFile(textPath, text, 0o644))
			}
			want, err := os.ReadFile(wirePath)
			require.NoError(t, err)
			require.Equal(t, want, wire, "the wire form changed: a protocol change needs a new Version, then -update")
			want, err = os.ReadFile(textPath)
			require.NoError(t, err)
			require.Equal(t, string(want), string(text))

			back, err := decoders[m.Kind()](wire)
			require.NoError(t, err)
			again, err := Encode(back)
			require.NoError(t, err)
			require.Equal(t, wire, again)
			for range 20 { // maps come in another order each time
				again, err = Encode(m)
				require.NoError(t, err)
				require.Equal(t, wire, again, "equal messages have equal bytes")
			}
		})
	}
}

func TestDecode_WhatIsNotForUs(t *testing.T) {
	t.Parallel()
	task, err := Encode(samples()[1])
	require.NoError(t, err)
	body := func(v any) msgpack.RawMessage {
		data, err := marshal(v)
		require.NoError(t, err)
		return data
	}
	wrap := func(version uint16, kind Kind, b msgpack.RawMessage) []byte {
		return body(envelope{Version: version, Kind: kind, Body: b})
	}
	withMore := map[string]any{}
	require.NoError(t, msgpack.Unmarshal(taskBody(t, task), &withMore))
	withMore["a_field_of_tomorrow"] = 1
	_, err = Decode[Task](wrap(Version, KindTask, body(withMore)))
	require.NoError(t, err, "unknown fields are ignored")

	for name, tc := range map[string]struct {
		data []byte
		want Code
	}{
		"nothing":             {nil, CodeMalformedMessage},
		"text":                {[]byte("hello"), CodeMalformedMessage},
		"not a map":           {body([]int{1, 2, 3}), CodeMalformedMessage},
		"bytes after it":      {append(bytes.Clone(task), 0xc0), CodeMalformedMessage},
		"newer version":       {wrap(Version+1, KindTask, taskBody(t, task)), CodeUnknownVersion},
		"no version":          {wrap(0, KindTask, taskBody(t, task)), CodeUnknownVersion},
		"another kind":        {wrap(Version, KindManifest, taskBody(t, task)), CodeUnknownKind},
		"a kind of tomorrow":  {wrap(Version, "evaluation", taskBody(t, task)), CodeUnknownKind},
		"no body":             {wrap(Version, KindTask, nil), CodeMalformedMessage},
		"body of other shape": {wrap(Version, KindTask, body("task")), CodeMalformedMessage},
		"invalid field":       {wrap(Version, KindTask, body(map[string]any{"collection": "a.b"})), CodeMalformedMessage},
		"absurd length":       {[]byte{0xdf, 0xff, 0xff, 0xff, 0xff}, CodeMalformedMessage},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode[Task](tc.data)
			f := AsFailure(err, "")
			require.Equal(t, tc.want, f.Code, "%v", err)
			require.False(t, f.Retryable, "what cannot be decoded now cannot be decoded later")
		})
	}
	for n := range task {
		_, err := Decode[Task](task[:n])
		require.Error(t, err, "cut off at %d", n)
	}
}

func taskBody(t *testing.T, wire []byte) msgpack.RawMessage {
	t.Helper()
	var env envelope
	require.NoError(t, unmarshal(wire, &env))
	return env.Body
}

func TestEncode_TooLarge(t *testing.T) {
	t.Parallel()
	_, err := Encode(&Dead{Stream: "S", Subject: "s", Failure: Failure{Code: CodeInternal}, Data: make([]byte, MaxMessageBytes)})
	require.Equal(t, CodeMessageTooLarge, AsFailure(err, "").Code)
}

// FuzzDecode decodes anything as every kind. What is accepted must be accepted again after encoding, with the same bytes.
func FuzzDecode(f *testing.F) {
	for _, m := range samples() {
		wire, err := Encode(m)
		require.NoError(f, err)
		f.Add(wire)
		f.Add(wire[:len(wire)/2])
	}
	f.Add([]byte{0x83, 0xa1, 'v', 1, 0xa1, 'k', 0xa4, 't', 'a', 's', 'k', 0xa1, 'b', 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		for kind, decode := range decoders {
			m, err := decode(data)
			if err != nil {
				f := AsFailure(err, "")
				if f.Code != CodeMalformedMessage && f.Code != CodeUnknownKind && f.Code != CodeUnknownVersion {
					t.Fatalf("%s: code %q of %v", kind, f.Code, err)
				}
				continue
			}
			wire, err := Encode(m)
			if err != nil && AsFailure(err, "").Code == CodeMessageTooLarge {
				continue
			}
			if err != nil {
				t.Fatalf("%s: accepted, but cannot be encoded: %v", kind, err)
			}
			again, err := decode(wire)
			if err != nil {
				t.Fatalf("%s: encoded, but not accepted: %v", kind, err)
			}
			if twice, err := Encode(again); err != nil || !bytes.Equal(wire, twice) {
				t.Fatalf("%s: encoded twice, the bytes differ (%v)", kind, err)
			}
		}
	})
}
