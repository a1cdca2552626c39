// Package jsonscan walks JSON text once, without reflection and with next to no allocation.
//
// It is for two formats of which tens of thousands of small documents are read: safetensors headers and FlashInfer's dump
// records. The caller drives it: begin an object, ask for the next key, take or skip its value. The first error sticks, so a
// parser may check once at its end.
//
// # Guarantees
//
//   - What is accepted is JSON (RFC 8259), plus the tokens NaN, Infinity and -Infinity, which Python's json module writes.
//     A caller that must refuse those sees them as numbers and can tell.
//   - Strings without escapes are substrings of the text: they cost nothing, and keep the text alive.
//   - It never panics, and never recurses deeper than MaxDepth.
//
// It does not build trees and does not write JSON.
package jsonscan

import (
	"fmt"
	"strings"
)

// MaxDepth bounds nesting; the deepest thing FlashInfer writes is about 30.
const MaxDepth = 96

// SyntaxError says where the text stopped being JSON.
type SyntaxError struct {
	Offset int    // byte offset in the text
	Reason string // what was expected or found
}

// Error gives reason and offset.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("invalid JSON at byte %d: %s", e.Offset, e.Reason)
}

// Kind is the type of the next value, told by its first byte.
type Kind uint8

// The kinds of values.
const (
	Invalid Kind = iota
	Object
	Array
	String
	Number
	Bool
	Null
)

// Scanner walks one text. The zero value walks the empty text.
type Scanner struct {
	s     string
	i     int
	depth int
	first bool // no member of the innermost open container has been read
	err   error
}

// New makes a scanner over s.
func New(s string) Scanner { return Scanner{s: s} }

// Err gives the first error.
func (sc *Scanner) Err() error { return sc.err }

// Offset is how far the scanner has come.
func (sc *Scanner) Offset() int { return sc.i }

func (sc *Scanner) fail(format string, args ...any) {
	if sc.err == nil {
		sc.err = &SyntaxError{Offset: sc.i, Reason: fmt.Sprintf(format, args...)}
	}
}

func (sc *Scanner) space() {
	for sc.i < len(sc.s) {
		switch sc.s[sc.i] {
		case ' ', '\t', '\n', '\r':
			sc.i++
		default:
			return
		}
	}
}

// peek gives the next byte that is not space, 0 at the end or after an error.
func (sc *Scanner) peek() byte {
	if sc.err != nil {
		return 0
	}
	if sc.space(); sc.i >= len(sc.s) {
		return 0
	}
	return sc.s[sc.i]
}

func (sc *Scanner) unexpected(want string) {
	if sc.i >= len(sc.s) {
		sc.fail("text ends where %s should be", want)
		return
	}
	sc.fail("%q where %s should be", sc.s[sc.i], want)
}

// Peek tells the kind of the next value, Invalid if none begins here.
func (sc *Scanner) Peek() Kind {
	switch c := sc.peek(); c {
	case '{':
		return Object
	case '[':
		return Array
	case '"':
		return String
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	case '-', 'N', 'I':
		return Number
	default:
		if c >= '0' && c <= '9' {
			return Number
		}
		return Invalid
	}
}

func (sc *Scanner) begin(open byte, want string) {
	if sc.peek() != open {
		sc.unexpected(want)
		return
	}
	if sc.depth++; sc.depth > MaxDepth {
		sc.fail("nested deeper than %d", MaxDepth)
		return
	}
	sc.i++
	sc.first = true
}

// member moves to the next member of the container that end closes; false at its end or after an error.
func (sc *Scanner) member(end byte, want string) bool {
	c := sc.peek()
	if sc.err != nil {
		return false
	}
	if c == end {
		sc.i++
		sc.depth--
		sc.first = false
		return false
	}
	if !sc.first {
		if c != ',' {
			sc.unexpected(want)
			return false
		}
		sc.i++
	}
	sc.first = false
	return true
}

// BeginObject consumes the brace that opens an object.
func (sc *Scanner) BeginObject() { sc.begin('{', "an object") }

// NextKey gives the next key of the innermost object and stands before its value; false when the object has been closed.
func (sc *Scanner) NextKey() (string, bool) {
	if !sc.member('}', "a comma or closing brace") {
		return "", false
	}
	key := sc.Str()
	if sc.peek() != ':' {
		sc.unexpected("a colon")
		return "", false
	}
	sc.i++
	return key, true
}

// BeginArray consumes the bracket that opens an array.
func (sc *Scanner) BeginArray() { sc.begin('[', "an array") }

// NextItem stands before the next item of the innermost array; false when the array has been closed.
func (sc *Scanner) NextItem() bool { return sc.member(']', "a comma or closing bracket") }

// End checks that nothing but space is left.
func (sc *Scanner) End() {
	if sc.err != nil {
		return
	}
	if sc.space(); sc.i < len(sc.s) {
		sc.fail("%q after the end of the value", sc.s[sc.i])
	}
}

// literal consumes word.
func (sc *Scanner) literal(word string) bool {
	if strings.HasPrefix(sc.s[sc.i:], word) {
		sc.i += len(word)
		return true
	}
	sc.unexpected(word)
	return false
}

// Bool consumes true or false.
func (sc *Scanner) Bool() bool {
	switch sc.peek() {
	case 't':
		return sc.literal("true")
	case 'f':
		sc.literal("false")
	default:
		sc.unexpected("true or false")
	}
	return false
}

// Null consumes null.
func (sc *Scanner) Null() {
	if sc.peek() != 'n' {
		sc.unexpected("null")
		return
	}
	sc.literal("null")
}

// Num consumes a number and gives its literal as it stands, so that the caller can keep 1 and 1.0 apart.
func (sc *Scanner) Num() string {
	c := sc.peek()
	if sc.err != nil {
		return ""
	}
	start := sc.i
	if c == '-' {
		sc.i++
	}
	if sc.i < len(sc.s) {
		switch sc.s[sc.i] {
		case 'N':
			if start != sc.i { // -NaN is nothing that Python writes
				sc.unexpected("a number")
				return ""
			}
			sc.literal("NaN")
			return sc.taken(start)
		case 'I':
			sc.literal("Infinity")
			return sc.taken(start)
		}
	}
	whole := sc.i
	if sc.digits(); sc.err == nil && sc.s[whole] == '0' && sc.i > whole+1 {
		sc.fail("number with a leading zero")
	}
	if sc.at('.') {
		sc.i++
		sc.digits()
	}
	if sc.at('e') || sc.at('E') {
		sc.i++
		if sc.at('+') || sc.at('-') {
			sc.i++
		}
		sc.digits()
	}
	return sc.taken(start)
}

func (sc *Scanner) taken(start int) string {
	if sc.err != nil {
		return ""
	}
	return sc.s[start:sc.i]
}

func (sc *Scanner) at(c byte) bool { return sc.err == nil && sc.i < len(sc.s) && sc.s[sc.i] == c }

func (sc *Scanner) digits() {
	if sc.err != nil {
		return
	}
	start := sc.i
	for sc.i < len(sc.s) && sc.s[sc.i] >= '0' && sc.s[sc.i] <= '9' {
		sc.i++
	}
	if sc.i == start {
		sc.unexpected("a digit")
	}
}

// Skip consumes the next value, whatever it is.
func (sc *Scanner) Skip() {
	switch sc.Peek() {
	case Object:
		for sc.BeginObject(); ; sc.Skip() {
			if _, ok := sc.NextKey(); !ok {
				return
			}
		}
	case Array:
		for sc.BeginArray(); sc.NextItem(); {
			sc.Skip()
		}
	case String:
		sc.Str()
	case Number:
		sc.Num()
	case Bool:
		sc.Bool()
	case Null:
		sc.Null()
	case Invalid:
		sc.unexpected("a value")
	}
}
