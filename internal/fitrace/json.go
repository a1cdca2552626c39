package fitrace

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// member is one key of a JSON object.
type member struct {
	key   string
	value json.RawMessage
}

// readObject gives the members of a JSON object in their order, which encoding/json's maps lose. A key given twice is an
// error: Python would keep the last, another reader the first.
func readObject(data []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	tok, err := dec.Token()
	if err != nil {
		return nil, jsonError(err)
	}
	if tok != json.Delim('{') {
		return nil, errors.New("is not a JSON object")
	}
	var members []member
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, jsonError(err)
		}
		m := member{key: tok.(string)} // the decoder gives nothing else before a colon
		if err := dec.Decode(&m.value); err != nil {
			return nil, fmt.Errorf("%s: %w", m.key, jsonError(err))
		}
		if seen[m.key] {
			return nil, fmt.Errorf("%s is given twice", m.key)
		}
		seen[m.key] = true
		members = append(members, m)
	}
	if _, err := dec.Token(); err != nil {
		return nil, jsonError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("has more after the JSON object")
	}
	return members, nil
}

func jsonError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("ends in the middle of the JSON")
	}
	return fmt.Errorf("not JSON: %w", err)
}

func readString(m member, into *string) error {
	var s *string
	if err := json.Unmarshal(m.value, &s); err != nil || s == nil {
		return fmt.Errorf("%s is %s, must be a string", m.key, shorten(m.value))
	}
	*into = *s
	return nil
}

func readOptionalString(m member, into *string) error {
	if isNull(m.value) {
		return nil
	}
	return readString(m, into)
}

func readStrings(m member) ([]string, error) {
	if isNull(m.value) {
		return nil, nil
	}
	var list []*string
	if err := json.Unmarshal(m.value, &list); err != nil {
		return nil, fmt.Errorf("%s is %s, must be a list of strings", m.key, shorten(m.value))
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil || *s == "" {
			return nil, fmt.Errorf("%s[%d] is not a non-empty string", m.key, i)
		}
		out[i] = *s
	}
	return out, nil
}

func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// shorten keeps a quoted value from filling the error.
func shorten(raw []byte) string {
	const most = 60
	if len(raw) <= most {
		return string(raw)
	}
	return string(raw[:most]) + "…"
}
