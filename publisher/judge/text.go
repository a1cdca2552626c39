package judge

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// text says why a file is not the text that JSON is made of. Go's decoder replaces what it cannot read; flashinfer-bench's stops.
func text(data []byte) error {
	for rest, at := data, 0; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n <= 1 {
			return fmt.Errorf("byte %#02x at offset %d is not UTF-8", rest[0], at)
		}
		rest, at = rest[n:], at+n
	}
	return surrogates(data)
}

// surrogates finds an escape that is half of a pair.
func surrogates(data []byte) error {
	for i := bytes.IndexByte(data, '\\'); i >= 0 && i+1 < len(data); {
		next := i + 2
		high := escaped(data[i:])
		switch low := escaped(data[min(i+6, len(data)):]); {
		case high>>10 == 0xD8>>2 && low>>10 == 0xDC>>2:
			next = i + 12
		case high>>11 == 0xD8>>3:
			return fmt.Errorf("the escape %s at offset %d is half of a pair", data[i:i+6], i)
		}
		skip := bytes.IndexByte(data[next:], '\\')
		if skip < 0 {
			break
		}
		i = next + skip
	}
	return nil
}

// escaped gives the value of a \u escape at the start of data, or -1.
func escaped(data []byte) int {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return -1
	}
	v, err := strconv.ParseUint(string(data[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return int(v)
}

// breaks are the characters at which Python's str.splitlines ends a line, and JSON does not: flashinfer-bench's validator would read
// half a line. A carriage return at the end is no harm.
const breaks = "\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029"

func brokenLine(raw []byte) error {
	if i := strings.IndexAny(strings.TrimRight(string(raw), "\r"), breaks); i >= 0 {
		return fmt.Errorf("has a line break inside, at byte %d, as Python counts them: escape it", i+1)
	}
	return nil
}
