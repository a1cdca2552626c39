package hubtest

import (
	"fmt"
	"html"
	"html/template"
	"regexp"
	"strings"
)

// markdown renders the part of Markdown that pull requests' texts use: headings, paragraphs, lists, tables, quotes, code, links,
// emphasis, and <details>. Comments of one line are not shown; all else is shown as it is.
func markdown(text string) template.HTML {
	m := &renderer{lines: strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")}
	for m.at < len(m.lines) {
		m.block()
	}
	return template.HTML(m.out.String()) // every text in it was escaped
}

type renderer struct {
	lines []string
	at    int
	out   strings.Builder
}

var (
	heading = regexp.MustCompile(`^(#{1,6})\s+(.*?)\s*#*$`)
	item    = regexp.MustCompile(`^(\s*)(?:([-*+])|\d+[.)])\s+(.*)$`)
	rule    = regexp.MustCompile(`^\s*(?:-{3,}|\*{3,}|_{3,})\s*$`)
	columns = regexp.MustCompile(`^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$`)
	comment = regexp.MustCompile(`^\s*<!--.*-->\s*$`)
	tag     = regexp.MustCompile(`^\s*</?(?:details|summary)>|^\s*<details open>`)
)

// block renders what begins at the current line.
func (m *renderer) block() {
	line := m.lines[m.at]
	switch {
	case strings.TrimSpace(line) == "", comment.MatchString(line):
		m.at++
	case strings.HasPrefix(strings.TrimSpace(line), "```"):
		m.code()
	case heading.MatchString(line):
		found := heading.FindStringSubmatch(line)
		fmt.Fprintf(&m.out, "<h%d>%s</h%d>\n", len(found[1]), inline(found[2]), len(found[1]))
		m.at++
	case rule.MatchString(line):
		m.out.WriteString("<hr>\n")
		m.at++
	case tag.MatchString(line):
		m.out.WriteString(tags(line) + "\n")
		m.at++
	case m.isTable():
		m.table()
	case item.MatchString(line):
		m.list()
	case strings.HasPrefix(line, ">"):
		m.out.WriteString("<blockquote>" + m.gather(func(l string) bool { return strings.HasPrefix(l, ">") }, ">") + "</blockquote>\n")
	default:
		m.out.WriteString("<p>" + m.gather(m.isText, "") + "</p>\n")
	}
}

// isText reports whether a line goes on with a paragraph.
func (m *renderer) isText(l string) bool {
	return strings.TrimSpace(l) != "" && !strings.HasPrefix(strings.TrimSpace(l), "```") && !heading.MatchString(l) && !item.MatchString(l) &&
		!tag.MatchString(l) && !comment.MatchString(l) && !strings.HasPrefix(l, ">")
}

// gather renders lines as one text, the first of them whatever it is.
func (m *renderer) gather(more func(string) bool, prefix string) string {
	var lines []string
	for first := true; m.at < len(m.lines) && (first || more(m.lines[m.at])); first = false {
		lines = append(lines, strings.TrimSpace(strings.TrimPrefix(m.lines[m.at], prefix)))
		m.at++
	}
	return inline(strings.Join(lines, "\n"))
}

func (m *renderer) code() {
	m.out.WriteString("<pre><code>")
	for m.at++; m.at < len(m.lines) && !strings.HasPrefix(strings.TrimSpace(m.lines[m.at]), "```"); m.at++ {
		m.out.WriteString(html.EscapeString(m.lines[m.at]) + "\n")
	}
	m.at++
	m.out.WriteString("</code></pre>\n")
}

// list renders items; deeper ones are lists within.
func (m *renderer) list() {
	var open []string // end tags, and how deep each list is indented
	var depth []int
	for m.at < len(m.lines) {
		if strings.TrimSpace(m.lines[m.at]) == "" && m.at+1 < len(m.lines) && item.MatchString(m.lines[m.at+1]) {
			m.at++
		}
		found := item.FindStringSubmatch(m.lines[m.at])
		if found == nil {
			break
		}
		indent := len(found[1])
		for len(depth) > 1 && indent < depth[len(depth)-1] {
			m.out.WriteString("</li>" + open[len(open)-1])
			open, depth = open[:len(open)-1], depth[:len(depth)-1]
		}
		kind := "ol>"
		if found[2] != "" {
			kind = "ul>"
		}
		switch last := len(depth) - 1; {
		case last < 0 || indent > depth[last]:
			m.out.WriteString("<" + kind)
			open, depth = append(open, "</"+kind), append(depth, indent)
		case open[last] != "</"+kind: // another list
			m.out.WriteString("</li>" + open[last] + "\n<" + kind)
			open[last] = "</" + kind
		default:
			m.out.WriteString("</li>\n")
		}
		m.lines[m.at] = found[3]
		m.out.WriteString("<li>" + m.gather(m.isText, ""))
	}
	for i := len(open) - 1; i >= 0; i-- {
		m.out.WriteString("</li>" + open[i])
	}
	m.out.WriteString("\n")
}

func (m *renderer) isTable() bool {
	return strings.Contains(m.lines[m.at], "|") && m.at+1 < len(m.lines) && columns.MatchString(m.lines[m.at+1]) && strings.Contains(m.lines[m.at+1], "-")
}

func (m *renderer) table() {
	m.out.WriteString("<table>\n")
	for cell := "th"; m.at < len(m.lines) && strings.Contains(m.lines[m.at], "|"); m.at++ {
		m.out.WriteString("<tr>")
		for _, text := range cells(m.lines[m.at]) {
			fmt.Fprintf(&m.out, "<%s>%s</%s>", cell, inline(text), cell)
		}
		m.out.WriteString("</tr>\n")
		if cell == "th" {
			m.at++ // the line of dashes
		}
		cell = "td"
	}
	m.out.WriteString("</table>\n")
}

// cells splits a table's line. A bar after a backslash is text.
func cells(line string) []string {
	const bar = "\x00"
	line = strings.ReplaceAll(strings.TrimSpace(line), `\|`, bar)
	line = strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|")
	list := strings.Split(line, "|")
	for i := range list {
		list[i] = strings.TrimSpace(strings.ReplaceAll(list[i], bar, "|"))
	}
	return list
}

var (
	codeSpan = regexp.MustCompile("`+[^`]*`+")
	link     = regexp.MustCompile(`\[([^\]]*)\]\(([^)\s]+)\)`)
	bare     = regexp.MustCompile(`(^|[\s(])(https?://[^\s<>()]+[^\s<>().,;:])`)
	strong   = regexp.MustCompile(`\*\*([^*]+)\*\*`)
	emphasis = regexp.MustCompile(`(^|[\s(])[*_]([^\s*_][^*_]*)[*_]($|[\s.,;:)])`)
	safeLink = regexp.MustCompile(`^(?:https?://|/|#|[\w./-]+$)`)
	known    = regexp.MustCompile(`&lt;(/?details|/?summary|details open|br|/?sub|/?b)&gt;`)
)

// tags escapes a text but for the tags that are known.
func tags(text string) string {
	return known.ReplaceAllString(inline(text), "<$1>")
}

// inline renders what is within a line. What is code stays as it is.
func inline(text string) string {
	var out strings.Builder
	last := 0
	for _, span := range codeSpan.FindAllStringIndex(text, -1) {
		out.WriteString(plainText(text[last:span[0]]))
		out.WriteString("<code>" + html.EscapeString(strings.Trim(text[span[0]:span[1]], "`")) + "</code>")
		last = span[1]
	}
	out.WriteString(plainText(text[last:]))
	return out.String()
}

func plainText(text string) string {
	text = html.EscapeString(text)
	text = link.ReplaceAllStringFunc(text, func(s string) string {
		found := link.FindStringSubmatch(s)
		if !safeLink.MatchString(found[2]) {
			return s
		}
		return `<a href="` + found[2] + `">` + found[1] + `</a>`
	})
	text = bare.ReplaceAllString(text, `$1<a href="$2">$2</a>`)
	text = strong.ReplaceAllString(text, "<strong>$1</strong>")
	text = emphasis.ReplaceAllString(text, "$1<em>$2</em>$3")
	return known.ReplaceAllString(text, "<$1>")
}
