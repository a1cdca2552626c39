package prbody

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A pull request may be added to by several collections. Its text has a section of each, which begins with its marker.

const between = "\n---\n\n"

// The heading of a section's log. Reviewers expect SGLang's name in it, which only a collection from SGLang has.
const (
	logHeadingSGLang = "\n## SGLang Collection Log\n"
	logHeadingOther  = "\n## Collection Log\n"
)

// logHeading returns the heading of the page's log.
func (p *Page) logHeading() string {
	if p.Engine == "sglang" {
		return logHeadingSGLang
	}
	return logHeadingOther
}

var marker = regexp.MustCompile(`(?m)^<!-- tracefleet collection=(\S+) definition=(\S+) -->\r?$`)

// Marker is the first line of every section: by it a pull request is found again.
func Marker(collection, definition string) string {
	return fmt.Sprintf("<!-- tracefleet collection=%s definition=%s -->", collection, definition)
}

// Marks gives the collections that a text tells of, and their definition; none where no section of ours is in it.
func Marks(text string) (collections []string, definition string) {
	for _, m := range marker.FindAllStringSubmatch(text, -1) {
		collections, definition = append(collections, m[1]), m[2]
	}
	return collections, definition
}

// sections splits a text of ours. What people wrote above stands before the first.
func sections(text string) (above string, list []string) {
	at := marker.FindAllStringIndex(text, -1)
	if len(at) > 0 {
		above = text[:at[0][0]]
	}
	for i := range at {
		end := len(text)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		section := strings.TrimRight(text[at[i][0]:end], "\n")
		if i+1 < len(at) {
			section = strings.TrimRight(strings.TrimSuffix(section, strings.TrimRight(between, "\n")), "\n")
		}
		list = append(list, section+"\n")
	}
	return above, list
}

// same reports whether two sections are of one collection and definition.
func same(section, other string) bool {
	first, _, _ := strings.Cut(section, "\n")
	second, _, _ := strings.Cut(other, "\n")
	return strings.TrimSuffix(first, "\r") == strings.TrimSuffix(second, "\r")
}

// Others gives a text without the section of a collection.
func Others(text, collection, definition string) string {
	own := Marker(collection, definition)
	above, list := sections(text)
	return above + strings.Join(slices.DeleteFunc(list, func(s string) bool { return same(s, own) }), between)
}

// Room is how many characters a section may have beside others, without taking more than half of the text from them.
func Room(others string) int { return max(mostText-size(others)-len(between), mostText/2) }

// Merge gives a text with a section in the place of that of the same collection, or behind the others. Where they do not all fit, the
// others' logs are left out, the oldest first, and then the oldest sections: the files that they tell of stay.
func Merge(text, section string) string {
	above, list := sections(text)
	at := slices.IndexFunc(list, func(s string) bool { return same(s, section) })
	if at < 0 {
		at, list = len(list), append(list, "")
	}
	list[at] = section
	join := func() string { return above + strings.Join(list, between) }
	for i := 0; i < len(list) && size(join()) > mostText; i++ {
		for _, heading := range []string{logHeadingSGLang, logHeadingOther} {
			if head, _, ok := strings.Cut(list[i], heading); ok && i != at {
				list[i] = head + heading + "\nLeft out: the text would be too long for the Hub.\n"
			}
		}
	}
	for len(list) > 1 && size(join()) > mostText {
		drop := 0
		if at == 0 {
			drop = 1
		} else {
			at--
		}
		list = slices.Delete(list, drop, drop+1)
	}
	return join()
}
