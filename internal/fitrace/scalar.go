package fitrace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
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
func FormatFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64) // e-05, e+16: two digits at least, as Python's
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.ContainsRune(s, '.') {
		s += ".0"
	}
	return s
}

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
	return append(appendString(b, key), ": "...)
}

// appendString quotes as json.dumps does: everything that is not ASCII is escaped.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	unit := func(b []byte, u uint16) []byte {
		return append(b, '\\', 'u', hex[u>>12], hex[u>>8&15], hex[u>>4&15], hex[u&15])
	}
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r >= 0x20 && r < 0x7f || r == 0x7f:
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			r -= 0x10000
			b = unit(b, uint16(0xd800+r>>10))
			b = unit(b, uint16(0xdc00+r&0x3ff))
		default:
			b = unit(b, uint16(r))
		}
	}
	return append(b, '"')
}
