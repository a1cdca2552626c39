package hubtest

import (
	"bytes"
	"path"
	"strings"
)

// defaultAttributes is what a new dataset repository has, in short.
const defaultAttributes = `*.bin filter=lfs diff=lfs merge=lfs -text
*.npz filter=lfs diff=lfs merge=lfs -text
*.parquet filter=lfs diff=lfs merge=lfs -text
*.pt filter=lfs diff=lfs merge=lfs -text
*.safetensors filter=lfs diff=lfs merge=lfs -text
*.tar.gz filter=lfs diff=lfs merge=lfs -text
*.zip filter=lfs diff=lfs merge=lfs -text
*.zst filter=lfs diff=lfs merge=lfs -text
`

const (
	mostRegular = 10 << 20 // bytes of a file within a commit
	mostBinary  = 100_000  // bytes of a binary file within a commit
)

// wantsLFS decides as the Hub does: by .gitattributes, by size, and by size of what is binary.
func wantsLFS(attributes, name string, size int64, sample []byte) bool {
	return covered(attributes, name) || size > mostRegular || (size > mostBinary && bytes.IndexByte(sample, 0) >= 0)
}

// covered reports whether the last pattern of .gitattributes that matches makes name an LFS file.
func covered(attributes, name string) bool {
	lfs := false
	for line := range strings.Lines(attributes) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || !matches(fields[0], name) {
			continue
		}
		for _, f := range fields[1:] {
			if value, ok := strings.CutPrefix(f, "filter="); ok {
				lfs = value == "lfs"
			}
		}
	}
	return lfs
}

// ignored reports whether the last pattern of .gitignore that matches keeps name out.
func ignored(ignore, name string) bool {
	out := false
	for line := range strings.Lines(ignore) {
		pattern := strings.TrimSpace(line)
		if pattern == "" || strings.HasPrefix(pattern, "#") {
			continue
		}
		rest, negated := strings.CutPrefix(pattern, "!")
		// A directory that is out keeps out what is below it.
		for p := name; p != "" && p != "."; p = path.Dir(p) {
			if p == name && strings.HasSuffix(rest, "/") {
				continue
			}
			if matches(strings.TrimSuffix(rest, "/"), p) {
				out = !negated
				break
			}
		}
	}
	return out
}

// matches is git's matching, in short: a pattern without a slash is one of names, others are of whole paths.
func matches(pattern, name string) bool {
	if !strings.Contains(pattern, "/") {
		return glob(pattern, path.Base(name))
	}
	return globParts(strings.Split(strings.TrimPrefix(pattern, "/"), "/"), strings.Split(name, "/"))
}

// globParts goes back to the last ** only: to all of them takes longer than anybody waits.
func globParts(pattern, parts []string) bool {
	at, star, mark := 0, -1, 0
	for i := 0; i < len(parts); {
		switch {
		case at < len(pattern) && pattern[at] == "**":
			star, mark = at, i
			at++
		case at < len(pattern) && glob(pattern[at], parts[i]):
			at++
			i++
		case star >= 0:
			mark++
			at, i = star+1, mark
		default:
			return false
		}
	}
	for at < len(pattern) && pattern[at] == "**" {
		at++
	}
	return at == len(pattern)
}

func glob(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}
