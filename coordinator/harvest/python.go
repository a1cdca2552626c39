package harvest

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// tokenKind is the class of a Python token, as far as a reference has to be understood.
type tokenKind uint8

const (
	tokName tokenKind = iota
	tokNumber
	tokString // a whole literal, prefix and quotes included; of an f-string, the part before its first field
	tokOp     // one character: brackets, commas, "=" of "=="
	tokEnd    // end of a logical line
)

// token is a piece of Python source.
type token struct {
	kind  tokenKind
	text  string
	pos   int // byte offset
	line  int // from 1
	depth int // brackets (and f-string fields) around it
	first bool
	col   int // of a line's first token; tabs go to multiples of 8, as Python's
}

func (t token) is(kind tokenKind, text string) bool { return t.kind == kind && t.text == text }
func (t token) op(text string) bool                 { return t.is(tokOp, text) }
func (t token) name(text string) bool               { return t.is(tokName, text) }

// maxNesting bounds brackets and f-strings inside each other; Python's own limit is 200.
const maxNesting = 100

// scanner cuts Python source into tokens. It knows what can hide a "def" from a search for text: strings of every prefix and
// quoting, f-strings with nested quotes, comments, brackets, and lines joined by a backslash.
type scanner struct {
	src    string
	at     int
	line   int
	tokens []token
	stack  []byte // open brackets, '{' also for an f-string's field
	col    int
	fresh  bool // the next token is the first of a logical line
}

// scanPython gives the tokens of src. Each logical line ends with a tokEnd.
func scanPython(src string) ([]token, error) {
	if !utf8.ValidString(src) || strings.ContainsRune(src, 0) {
		return nil, fmt.Errorf("is no text: it has bytes that are not UTF-8, or NUL")
	}
	s := &scanner{src: strings.TrimPrefix(src, "\ufeff"), line: 1, fresh: true}
	offset := len(src) - len(s.src)
	if err := s.code(false); err != nil {
		return nil, err
	}
	if len(s.stack) > 0 {
		return nil, s.errorf("the source ends inside an open %q", s.stack[len(s.stack)-1])
	}
	s.endLine()
	for i := range s.tokens {
		s.tokens[i].pos += offset
	}
	return s.tokens, nil
}

func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", s.line, fmt.Sprintf(format, args...))
}

func (s *scanner) add(kind tokenKind, end int) {
	s.tokens = append(s.tokens, token{
		kind: kind, text: s.src[s.at:end], pos: s.at, line: s.line, depth: len(s.stack), first: s.fresh, col: s.col,
	})
	s.fresh = false
	s.at = end
}

// endLine ends the logical line, if it holds anything.
func (s *scanner) endLine() {
	if !s.fresh {
		s.tokens = append(s.tokens, token{kind: tokEnd, pos: s.at, line: s.line, depth: len(s.stack)})
	}
	s.fresh, s.col = true, 0
}

// code scans to the end of the source, or, in a field of an f-string, to what ends the expression: "}", or ":" or "!" before
// its format, which is left in place.
func (s *scanner) code(field bool) error {
	base := len(s.stack)
	for s.at < len(s.src) {
		c := s.src[s.at]
		if field && len(s.stack) == base && (c == '}' || c == ':' || c == '!' && !strings.HasPrefix(s.src[s.at:], "!=")) {
			return nil
		}
		switch {
		case c == '\n' || c == '\r':
			s.newline()
			if len(s.stack) == 0 {
				s.endLine()
			}
			if s.fresh {
				s.col = 0
			}
		case c == ' ' || c == '\f':
			s.at++
			s.indent(1)
		case c == '\t':
			s.at++
			s.indent(8 - s.col%8)
		case c == '#':
			for s.at < len(s.src) && s.src[s.at] != '\n' && s.src[s.at] != '\r' {
				s.at++
			}
		case c == '\\':
			if s.at+1 >= len(s.src) || s.src[s.at+1] != '\n' && s.src[s.at+1] != '\r' {
				return s.errorf("a backslash outside of a string that does not end its line")
			}
			s.at++
			s.newline()
		case c == '"' || c == '\'':
			if err := s.str(""); err != nil {
				return err
			}
		case nameByte(c) && (c < '0' || c > '9'):
			if err := s.word(); err != nil {
				return err
			}
		case c >= '0' && c <= '9' || c == '.' && s.at+1 < len(s.src) && s.src[s.at+1] >= '0' && s.src[s.at+1] <= '9':
			s.number()
		default:
			if err := s.op(c, base); err != nil {
				return err
			}
		}
	}
	if field {
		return s.errorf("the source ends inside an f-string")
	}
	return nil
}

// indent counts the columns before a logical line's first token.
func (s *scanner) indent(n int) {
	if s.fresh {
		s.col += n
	}
}

// newline passes over one line end, of any of the three kinds.
func (s *scanner) newline() {
	if strings.HasPrefix(s.src[s.at:], "\r\n") {
		s.at++
	}
	s.at++
	s.line++
}

var closing = map[byte]byte{')': '(', ']': '[', '}': '{'}

// op takes one character of punctuation. base brackets were open before the code at hand, and are not its to close.
func (s *scanner) op(c byte, base int) error {
	switch c {
	case '(', '[', '{':
		if len(s.stack) >= maxNesting {
			return s.errorf("more than %d brackets inside each other", maxNesting)
		}
		s.add(tokOp, s.at+1)
		s.stack = append(s.stack, c)
		return nil
	case ')', ']', '}':
		if len(s.stack) <= base || s.stack[len(s.stack)-1] != closing[c] {
			return s.errorf("%q closes nothing", c)
		}
		s.stack = s.stack[:len(s.stack)-1]
	default:
		if !strings.ContainsRune("+-*/%@&|^~<>=!,:;.", rune(c)) {
			return s.errorf("%q is not Python", c)
		}
	}
	s.add(tokOp, s.at+1)
	return nil
}

// word takes a name, or the prefix of a string with the string.
func (s *scanner) word() error {
	end := s.at
	for end < len(s.src) && nameByte(s.src[end]) {
		end++
	}
	if end < len(s.src) && (s.src[end] == '"' || s.src[end] == '\'') && stringPrefix(s.src[s.at:end]) {
		return s.str(s.src[s.at:end])
	}
	s.add(tokName, end)
	return nil
}

func stringPrefix(s string) bool {
	switch strings.ToLower(s) {
	case "r", "u", "b", "f", "t", "br", "rb", "fr", "rf", "tr", "rt":
		return true
	}
	return false
}

func nameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c >= utf8.RuneSelf
}

// number takes a literal of any base, with its exponent's sign.
func (s *scanner) number() {
	end := s.at
	hex := strings.HasPrefix(s.src[s.at:], "0x") || strings.HasPrefix(s.src[s.at:], "0X")
	for end < len(s.src) && (nameByte(s.src[end]) || s.src[end] == '.') {
		exponent := (s.src[end] == 'e' || s.src[end] == 'E') && !hex
		end++
		if exponent && end < len(s.src) && (s.src[end] == '+' || s.src[end] == '-') {
			end++
		}
	}
	s.add(tokNumber, end)
}
