package archtest

import "testing"

// maxLines is where a file is to be thought about again; near 150 is usual.
const maxLines = 400

// longFiles may be longer, each for its reason.
var longFiles = map[string]string{}

func TestFiles_AreShort(t *testing.T) {
	t.Parallel()
	lengths := map[string]int{}
	for _, f := range readTree(t) {
		lengths[f.path] = f.lines
		if f.test || f.lines <= maxLines || longFiles[f.path] != "" {
			continue
		}
		t.Errorf("%s has %d lines: split it by what its parts do, or say in longFiles why it must be over %d", f.path, f.lines, maxLines)
	}
	for name := range longFiles {
		if lengths[name] <= maxLines {
			t.Errorf("longFiles names %s, which has %d lines: take it out", name, lengths[name])
		}
	}
}
