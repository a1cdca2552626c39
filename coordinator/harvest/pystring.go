package harvest

import "strings"

// str takes a string literal whose prefix was read but not yet passed over.
func (s *scanner) str(prefix string) error {
	begin, line := s.at, s.line
	rest := s.src[s.at+len(prefix):]
	quote := rest[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(rest, triple) {
		quote = triple
	}
	lower := strings.ToLower(prefix)
	formatted, raw := strings.ContainsAny(lower, "ft"), strings.Contains(lower, "r")
	added := false
	// take makes the text up to end a token; only the first part of an f-string becomes one.
	take := func(end int) {
		if !added {
			at, now := s.at, s.line
			s.at, s.line = begin, line
			s.add(tokString, end)
			s.at, s.line = max(at, end), now
			added = true
			return
		}
		s.at = end
	}
	s.at += len(prefix) + len(quote)
	for s.at < len(s.src) {
		c := s.src[s.at]
		switch {
		case strings.HasPrefix(s.src[s.at:], quote):
			take(s.at + len(quote))
			return nil
		case c == '\\':
			s.escape(formatted, raw)
		case c == '\n' || c == '\r':
			if len(quote) == 1 {
				return s.errorf("a string that is not closed")
			}
			s.newline()
		case formatted && (strings.HasPrefix(s.src[s.at:], "{{") || strings.HasPrefix(s.src[s.at:], "}}")):
			s.at += 2
		case formatted && c == '{':
			take(s.at)
			if err := s.field(quote); err != nil {
				return err
			}
		case formatted && c == '}':
			return s.errorf("a single \"}\" in an f-string")
		default:
			s.at++
		}
	}
	return s.errorf("a string that is not closed")
}

// escape passes over a backslash and what it protects. Braces of an f-string stay, but for the name in \N{…}.
func (s *scanner) escape(formatted, raw bool) {
	s.at++
	if s.at >= len(s.src) {
		return
	}
	switch c := s.src[s.at]; {
	case c == '\n' || c == '\r':
		s.newline()
	case formatted && (c == '{' || c == '}'):
	case formatted && !raw && strings.HasPrefix(s.src[s.at:], "N{"):
		if end := strings.IndexByte(s.src[s.at:], '}'); end >= 0 && !strings.ContainsAny(s.src[s.at:s.at+end], "\n\r\"'") {
			s.at += end + 1
			return
		}
		s.at++
	default:
		s.at++
	}
}

// field takes {expression!r:format} of an f-string whose literal is quoted by quote.
func (s *scanner) field(quote string) error {
	if len(s.stack) >= maxNesting {
		return s.errorf("f-strings nested more than %d deep", maxNesting)
	}
	s.at++
	s.stack = append(s.stack, '{')
	if err := s.code(true); err != nil {
		return err
	}
	if s.src[s.at] == '!' {
		for s.at++; s.at < len(s.src) && nameByte(s.src[s.at]); {
			s.at++
		}
	}
	if s.at < len(s.src) && s.src[s.at] == ':' {
		s.at++
		if err := s.format(quote); err != nil {
			return err
		}
	}
	if s.at >= len(s.src) || s.src[s.at] != '}' {
		return s.errorf("an f-string field that is not closed")
	}
	s.at++
	s.stack = s.stack[:len(s.stack)-1]
	return nil
}

// format takes what follows the colon, up to the closing brace.
func (s *scanner) format(quote string) error {
	for s.at < len(s.src) {
		switch c := s.src[s.at]; {
		case c == '}':
			return nil
		case c == '{':
			if err := s.field(quote); err != nil {
				return err
			}
		case strings.HasPrefix(s.src[s.at:], quote):
			return s.errorf("an f-string field that is not closed")
		case c == '\n' || c == '\r':
			if len(quote) == 1 {
				return s.errorf("a string that is not closed")
			}
			s.newline()
		default:
			s.at++
		}
	}
	return s.errorf("an f-string field that is not closed")
}
