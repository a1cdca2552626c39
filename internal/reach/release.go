package reach

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// release is the first three numbers of one: post releases and candidates are taken for the release they belong to.
type release [3]int

var releasePattern = regexp.MustCompile(`^v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})`)

// parseRelease reads a release's numbers; ok is false where it does not start with three.
func parseRelease(s string) (r release, ok bool) {
	m := releasePattern.FindStringSubmatch(s)
	if m == nil {
		return r, false
	}
	for i := range r {
		r[i], _ = strconv.Atoi(m[i+1]) // digits only, and few
	}
	return r, true
}

func (r release) compare(o release) int {
	return cmp.Or(cmp.Compare(r[0], o[0]), cmp.Compare(r[1], o[1]), cmp.Compare(r[2], o[2]))
}

func (r release) String() string { return fmt.Sprintf("%d.%d.%d", r[0], r[1], r[2]) }

// span is a range of releases: from is in it, before is not, and the zero value of before is no bound.
type span struct{ from, before release }

func (s span) holds(r release) bool {
	return r.compare(s.from) >= 0 && (s.before == release{} || r.compare(s.before) < 0)
}
