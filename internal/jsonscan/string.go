package jsonscan

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Str consumes a string.
func (sc *Scanner) Str() string {
	if sc.peek() != '"' {
		sc.unexpected("a string")
		return ""
	}
	sc.i++
	start := sc.i
	sc.i += plain(sc.s[start:])
	for sc.i < len(sc.s) {
		switch c := sc.s[sc.i]; {
		case c == '"':
			sc.i++
			return sc.s[start : sc.i-1]
		case c == '\\':
			return sc.escaped(start)
		case c < 0x20:
			sc.fail("control character in a string")
			return ""
		}
		sc.i++
	}
	sc.fail("text ends inside a string")
	return ""
}

// plain gives how many bytes of s, in steps of eight, are neither quote, backslash nor control character. Most of a record is
// one long signature.
func plain(s string) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; len(s)-i >= 8; i += 8 {
		w := s[i : i+8]
		x := uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
			uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
		quote, slash := x^(ones*'"'), x^(ones*'\\')
		// A byte's top bit is set where it borrows: where it is zero, or below 0x20 for x itself.
		if ((quote-ones)&^quote|(slash-ones)&^slash|(x-ones*0x20)&^x)&tops != 0 {
			break
		}
	}
	return i
}

// escaped goes on with a string in which an escape was met.
func (sc *Scanner) escaped(start int) string {
	var b strings.Builder
	b.WriteString(sc.s[start:sc.i])
	for sc.i < len(sc.s) {
		c := sc.s[sc.i]
		switch {
		case c == '"':
			sc.i++
			return b.String()
		case c < 0x20:
			sc.fail("control character in a string")
			return ""
		case c != '\\':
			b.WriteByte(c)
			sc.i++
			continue
		}
		if sc.i+1 >= len(sc.s) {
			break
		}
		sc.i += 2
		switch e := sc.s[sc.i-1]; e {
		case '"', '\\', '/':
			b.WriteByte(e)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			b.WriteRune(sc.unicode())
		default:
			sc.i--
			sc.fail("unknown escape \\%c", e)
		}
		if sc.err != nil {
			return ""
		}
	}
	sc.i = len(sc.s)
	sc.fail("text ends inside a string")
	return ""
}

// unicode reads the digits of a \u escape, and a second one where the first is half of a pair; a lone half is U+FFFD.
func (sc *Scanner) unicode() rune {
	r := sc.hex4()
	if !utf16.IsSurrogate(r) || !strings.HasPrefix(sc.s[min(sc.i, len(sc.s)):], `\u`) {
		return r // WriteRune turns a lone surrogate into U+FFFD
	}
	back := sc.i
	sc.i += 2
	if pair := utf16.DecodeRune(r, sc.hex4()); pair != utf8.RuneError {
		return pair
	}
	sc.i = back
	return utf8.RuneError
}

func (sc *Scanner) hex4() (r rune) {
	if sc.i+4 > len(sc.s) {
		sc.fail("text ends inside a \\u escape")
		return utf8.RuneError
	}
	for _, c := range []byte(sc.s[sc.i : sc.i+4]) {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			sc.fail("%q in a \\u escape", c)
			return utf8.RuneError
		}
	}
	sc.i += 4
	return r
}
