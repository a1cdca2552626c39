package fitrace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/pyjson"
)

// String gives the scalar as Python's json.dumps writes it.
func (s Scalar) String() string {
	switch s.Kind {
	case Int:
		return strconv.FormatInt(s.Int, 10)
	case Bool:
		return strconv.FormatBool(s.Bool)
	}
	return FormatFloat(s.Float)
}

// FormatFloat writes a float64 as Python's repr does: the shortest digits that read back as the same number, always with a
// point or an exponent, the latter from 1e16 on and below 1e-4. NaN and the infinities have the names json.dumps gives them,
// which are no JSON; callers keep them out.
func FormatFloat(f float64) string { return string(pyjson.AppendFloat(nil, f)) }

func parseScalar(raw json.RawMessage) (Scalar, error) {
	text := string(bytes.TrimSpace(raw))
	switch text {
	case "":
		return Scalar{}, fmt.Errorf("is scalar but value is missing")
	case "true", "false":
		return Scalar{Kind: Bool, Bool: text == "true"}, nil
	}
	if v, err := strconv.ParseInt(text, 10, 64); err == nil {
		return Scalar{Kind: Int, Int: v}, nil
	}
	if !strings.ContainsAny(text, ".eE") || text[0] == '"' {
		return Scalar{}, fmt.Errorf("value is %s, must be an int of 64 bits, a float or a bool", shorten(raw))
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return Scalar{}, fmt.Errorf("value is %s, must be an int of 64 bits, a float or a bool", shorten(raw))
	}
	return Scalar{Kind: Float, Float: v}, nil
}

func appendKey(b []byte, i int, key string) []byte {
	if i > 0 {
		b = append(b, ", "...)
	}
	return append(pyjson.AppendString(b, key), ": "...)
}
