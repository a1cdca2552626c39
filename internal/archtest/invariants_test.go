package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDesign_NamesTestsThatExist: the table of invariants names the tests that hold them; a renamed or deleted test must not
// leave an invariant that only a document holds.
func TestDesign_NamesTestsThatExist(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join(root(t), "docs", "design.md"))
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, f := range readTree(t) {
		if !f.test {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(f.path)))
		if err != nil {
			t.Fatal(err)
		}
		code.Write(text)
	}
	names := regexp.MustCompile("`(Test[A-Za-z0-9_]+)(\\*?)`").FindAllStringSubmatch(string(doc), -1)
	if len(names) < 10 {
		t.Fatalf("%d tests named in docs/design.md: is the table still there?", len(names))
	}
	for _, name := range names {
		end := "("
		if name[2] == "*" {
			end = ""
		}
		if !strings.Contains(code.String(), "func "+name[1]+end) {
			t.Errorf("docs/design.md names %s, which is no test", name[1])
		}
	}
}
