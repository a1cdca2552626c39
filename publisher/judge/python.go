package judge

import (
	"fmt"
	"strings"
)

// token is a piece of Python, as far as pieces are told apart here.
type token struct {
	kind   tokenKind
	text   string // of a string its prefix only
	line   int
	column int // where it is the first of a logical line, else -1
}

type tokenKind int

const (
	word    tokenKind = iota // a name, keyword or number
	str                      // a string, whole
	op                       // an operator, or a comma or the like
	opens                    // ( [ {
	closes                   // ) ] }
	newline                  // the end of a logical line
)

// lexer cuts Python into tokens. It accepts more than Python does, and never less: what it refuses is no Python.
type lexer struct {
	src    string
	i      int
	line   int
	column int
	fresh  bool    // nothing but white space on this logical line so far
	open   []token // brackets
	tokens []token
}

// lex gives the tokens, or the first place where strings, brackets or characters make no Python.
func lex(source string) ([]token, error) {
	x := &lexer{src: strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source), line: 1, fresh: true}
	for x.i < len(x.src) {
		if err := x.next(); err != nil {
			return nil, err
		}
	}
	if n := len(x.open); n > 0 {
		return nil, fmt.Errorf("line %d: %s is never closed", x.open[n-1].line, x.open[n-1].text)
	}
	return x.tokens, nil
}

func (x *lexer) fail(format string, args ...any) error {
	return fmt.Errorf("line %d: %s", x.line, fmt.Sprintf(format, args...))
}

// next takes white space, a comment or a token.
func (x *lexer) next() error {
	switch c := x.src[x.i]; {
	case c == '\n':
		x.endLine()
	case c == ' ', c == '\t', c == '\f':
		x.column++
		if c == '\t' {
			x.column += 7 - (x.column-1)%8
		}
		x.i++
	case c == '#':
		for x.i < len(x.src) && x.src[x.i] != '\n' {
			x.i++
		}
	case c == '\\':
		if !strings.HasPrefix(x.src[x.i:], "\\\n") {
			return x.fail(`something follows the \ that continues the line`)
		}
		x.i += 2
		x.line++
	case strings.IndexByte("([{", c) >= 0:
		x.emit(opens, string(c), x.line)
		x.open = append(x.open, x.tokens[len(x.tokens)-1])
		x.i++
	case strings.IndexByte(")]}", c) >= 0:
		x.i++
		return x.closeBracket(string(c))
	case c == '\'', c == '"':
		return x.str("")
	case wordByte(c), c == '.' && x.i+1 < len(x.src) && digit(x.src[x.i+1]):
		line, text := x.line, x.word()
		if x.i < len(x.src) && (x.src[x.i] == '\'' || x.src[x.i] == '"') && stringPrefix(text) {
			return x.str(text)
		}
		x.emit(word, text, line)
	default:
		text := operator(x.src[x.i:])
		if text == "" {
			return x.fail("has the character %q", c)
		}
		x.emit(op, text, x.line)
		x.i += len(text)
	}
	return nil
}

func (x *lexer) emit(kind tokenKind, text string, line int) {
	t := token{kind, text, line, -1}
	if x.fresh && len(x.open) == 0 {
		t.column = x.column
	}
	x.fresh = false
	x.tokens = append(x.tokens, t)
}

func (x *lexer) endLine() {
	if len(x.open) == 0 {
		if !x.fresh {
			x.tokens = append(x.tokens, token{newline, "", x.line, -1})
		}
		x.column, x.fresh = 0, true
	}
	x.i++
	x.line++
}

func (x *lexer) closeBracket(c string) error {
	n := len(x.open)
	if n == 0 {
		return x.fail("%s closes nothing", c)
	}
	if o := x.open[n-1]; o.text+c != "()" && o.text+c != "[]" && o.text+c != "{}" {
		return x.fail("%s closes the %s of line %d", c, o.text, o.line)
	}
	x.emit(closes, c, x.line)
	x.open = x.open[:n-1]
	return nil
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func wordByte(c byte) bool {
	return digit(c) || c == '_' || c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// word takes a name or a number.
func (x *lexer) word() string {
	begin := x.i
	if digit(x.src[begin]) || x.src[begin] == '.' {
		x.number()
	} else {
		x.letters()
	}
	return x.src[begin:x.i]
}

func (x *lexer) letters() {
	for x.i < len(x.src) && wordByte(x.src[x.i]) {
		x.i++
	}
}

// number ends where Python ends it, since a keyword may follow without a space.
func (x *lexer) number() {
	if rest := strings.ToLower(x.src[x.i:min(x.i+2, len(x.src))]); rest == "0x" || rest == "0o" || rest == "0b" {
		x.letters()
		return
	}
	for point := false; x.i < len(x.src); x.i++ {
		switch c := x.src[x.i]; {
		case digit(c), c == '_', c == 'j', c == 'J':
		case c == '.' && !point:
			point = true
		case c == 'e', c == 'E':
			digits := strings.TrimLeft(x.src[x.i+1:min(x.i+3, len(x.src))], "+-")
			if digits == "" || !digit(digits[0]) {
				return
			}
			x.i++ // the sign, or the first digit
			point = true
		default:
			return
		}
	}
}

func stringPrefix(s string) bool {
	return len(s) <= 2 && strings.Trim(strings.ToLower(s), "rbuf") == ""
}

// str takes a string from its opening quote on. A backslash keeps the next character from ending it, in raw strings too.
func (x *lexer) str(prefix string) error {
	begin, quote := x.line, x.src[x.i:x.i+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(x.src[x.i:], long) {
		quote = long
	}
	for x.i += len(quote); x.i < len(x.src); x.i++ {
		if strings.HasPrefix(x.src[x.i:], quote) {
			x.i += len(quote)
			x.emit(str, prefix, begin)
			return nil
		}
		c := x.src[x.i]
		if c == '\n' && len(quote) == 1 {
			break
		}
		if c == '\\' && x.i+1 < len(x.src) {
			x.i++
			c = x.src[x.i]
		}
		if c == '\n' {
			x.line++
		}
	}
	x.line = begin
	return x.fail("a string is never closed")
}

// operators, a longer one before its beginnings.
var operators = []string{
	"**=", "//=", ">>=", "<<=", "...", "!=", "->", ":=", "**", "//", ">>", "<<", "<=", ">=", "==", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "@=",
	"+", "-", "*", "/", "%", "@", "&", "|", "^", "~", "<", ">", "=", ".", ",", ":", ";",
}

func operator(s string) string {
	for _, o := range operators {
		if strings.HasPrefix(s, o) {
			return o
		}
	}
	return ""
}
