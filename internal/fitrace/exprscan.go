package fitrace

import (
	"fmt"
	"slices"
	"strings"
)

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenNumber
	tokenName
	tokenText // without its quotes
	tokenSymbol
)

type token struct {
	kind tokenKind
	text string
}

var symbols = []string{"**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "<", ">", "(", ")", "[", "]", ".", ",", ":"}

func (p *parser) scan() error {
	s := p.source
	for {
		s = strings.TrimLeft(s, " \t\n\r")
		if s == "" {
			p.tokens = append(p.tokens, token{kind: tokenEnd})
			return nil
		}
		var t token
		length := 0
		switch c := s[0]; {
		case c == '\'' || c == '"':
			n := strings.IndexByte(s[1:], c)
			if n < 0 || strings.ContainsAny(s[1:n+1], "\\\n") {
				return fmt.Errorf("unexpected %q", s[:1])
			}
			t, length = token{tokenText, s[1 : n+1]}, n+2
		case c >= '0' && c <= '9':
			n := numberLength(s)
			t = token{tokenNumber, s[:n]}
		case letter(c):
			n := 1
			for n < len(s) && (letter(s[n]) || s[n] >= '0' && s[n] <= '9') {
				n++
			}
			t = token{tokenName, s[:n]}
		default:
			i := slices.IndexFunc(symbols, func(sym string) bool { return strings.HasPrefix(s, sym) })
			if i < 0 {
				return fmt.Errorf("unexpected %q", s[:1])
			}
			t = token{tokenSymbol, symbols[i]}
		}
		p.tokens = append(p.tokens, t)
		s = s[max(length, len(t.text)):]
	}
}

// numberLength takes digits, a point and an exponent: 12, 0.5, 1e-5, 1_000.
func numberLength(s string) int {
	n := 0
	for n < len(s) {
		c := s[n]
		sign := (c == '-' || c == '+') && (s[n-1] == 'e' || s[n-1] == 'E')
		if !(c >= '0' && c <= '9' || c == '.' || c == '_' || c == 'e' || c == 'E' || sign) {
			break
		}
		n++
	}
	return n
}

func letter(c byte) bool { return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
