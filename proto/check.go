package proto

import (
	"fmt"
	"regexp"
)

// A token becomes a part of a NATS subject and of file names: no dots, no wildcards, no separators.
var tokenPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$`)

// A name is a definition's or an op type's: it becomes a path component in the dataset, so it may hold dots but not be one.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$`)

var digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func checkToken(what, s string) error {
	if !tokenPattern.MatchString(s) {
		return fmt.Errorf("%s %q is not a token of letters, digits, _ and - (at most 128)", what, s)
	}
	return nil
}

func checkName(what, s string) error {
	if !namePattern.MatchString(s) {
		return fmt.Errorf("%s %q is not a name of letters, digits, _, - and dots inside (at most 255)", what, s)
	}
	return nil
}

func checkDigest(what, s string) error {
	if !digestPattern.MatchString(s) {
		return fmt.Errorf("%s %q is not a hex SHA-256", what, s)
	}
	return nil
}

// checkTensor checks what both dumped and converted tensors promise: a key, sizes that exist, inline bytes only with a digest.
func checkTensor(key string, shape []int64, digest string, inline []byte) error {
	if key == "" {
		return fmt.Errorf("tensor without a key")
	}
	for _, n := range shape {
		if n < 0 {
			return fmt.Errorf("tensor %s has a negative size in shape %v", key, shape)
		}
	}
	if digest != "" {
		if err := checkDigest("digest of tensor "+key, digest); err != nil {
			return err
		}
	}
	if len(inline) > 0 && digest == "" {
		return fmt.Errorf("tensor %s has inline bytes but no digest", key)
	}
	if len(inline) > InlineTensorBytes {
		return fmt.Errorf("tensor %s has %d inline bytes, the limit is %d", key, len(inline), InlineTensorBytes)
	}
	return nil
}
