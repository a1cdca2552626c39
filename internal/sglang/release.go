package sglang

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Version is a release's number, for comparing: PEP 440 as far as SGLang's releases go.
type Version struct {
	numbers []int
	pre     [2]int // kind and number of a pre-release; a kind of 0 is dev, 1 to 3 are a, b, rc; a final release has preFinal
	post    int    // 0: none; .postN is N+1
	dev     int    // of what .devN stands behind; devNone: none
}

const (
	preDev   = 0
	preFinal = 4
	devNone  = 1 << 30
)

var versionPattern = regexp.MustCompile(`^v?(\d{1,6}(?:\.\d{1,6}){0,4})(?:\.?(a|b|rc)(\d{1,6}))?(?:\.?post(\d{1,6}))?(?:\.?dev(\d{1,9}))?(?:[+][0-9A-Za-z.]+)?$`)

// ParseRelease reads a version such as 0.5.16, 0.5.12.post1, 0.5.24rc0 or 0.5.16+cu129. A local part (after "+") says how it
// was built, not which release it is.
func ParseRelease(s string) (Version, error) {
	m := versionPattern.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return Version{}, fmt.Errorf("%q is no release of SGLang, such as 0.5.16 or 0.5.12.post1", s)
	}
	v := Version{pre: [2]int{preFinal, 0}, dev: devNone}
	for _, part := range strings.Split(m[1], ".") {
		v.numbers = append(v.numbers, number(part))
	}
	for len(v.numbers) > 1 && v.numbers[len(v.numbers)-1] == 0 { // 0.6 and 0.6.0 are one release
		v.numbers = v.numbers[:len(v.numbers)-1]
	}
	if m[2] != "" {
		v.pre = [2]int{1 + slices.Index([]string{"a", "b", "rc"}, m[2]), number(m[3])}
	}
	if m[4] != "" {
		v.post = number(m[4]) + 1
	}
	if m[5] != "" {
		v.dev = number(m[5])
		if m[2] == "" && m[4] == "" { // 1.0.dev1 comes before 1.0a1
			v.pre = [2]int{preDev, 0}
		}
	}
	return v, nil
}

// Compare gives -1, 0 or 1 as v is before, the same as or after o.
func (v Version) Compare(o Version) int {
	return cmp.Or(
		slices.Compare(v.numbers, o.numbers),
		slices.Compare(v.pre[:], o.pre[:]),
		cmp.Compare(v.post, o.post),
		cmp.Compare(v.dev, o.dev),
	)
}

// Compare compares two releases by their names. What is no release comes first.
func Compare(a, b string) int {
	va, errA := ParseRelease(a)
	vb, errB := ParseRelease(b)
	switch {
	case errA != nil && errB != nil:
		return strings.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return va.Compare(vb)
}

// number reads digits that a pattern let through.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
