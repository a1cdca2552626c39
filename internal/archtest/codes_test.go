package archtest

import (
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const codesDoc = "docs/failure-codes.md"

// row matches the first cell of a table row that holds one code.
var row = regexp.MustCompile("(?m)^\\|\\s*`([a-z0-9_]+)`\\s*\\|")

// TestFailureCodes_AreDocumented: every failure code and every rejection code has a row of its own in the document that
// people search, and every row is of a code that exists.
func TestFailureCodes_AreDocumented(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(filepath.Join(root(t), filepath.FromSlash(codesDoc)))
	if err != nil {
		t.Fatalf("read %s: %v", codesDoc, err)
	}
	documented := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		if documented[m[1]] {
			t.Errorf("%s has two rows for %s", codesDoc, m[1])
		}
		documented[m[1]] = true
	}
	known := codes(t)
	for code, where := range known {
		if !documented[code] {
			t.Errorf("%s has no row for %s (%s)", codesDoc, code, where)
		}
	}
	for code := range documented {
		if known[code] == "" {
			t.Errorf("%s has a row for %s, which is no code", codesDoc, code)
		}
	}
}

// codes gives the value of each constant of proto.Code, and of each rejection reason of the sanitizer, with its place.
func codes(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	failures, rejections := 0, 0
	for _, f := range readTree(t) {
		if f.test {
			continue
		}
		for name, value := range stringConstants(f.ast) {
			switch {
			case f.pkg == "proto" && strings.HasPrefix(name, "Code"):
				failures++
			case f.path == "sanitizer/reject.go", f.path == "proto/defect.go":
				rejections++
			default:
				continue
			}
			found[value] = f.path + ", " + name
		}
	}
	if failures == 0 || rejections == 0 {
		t.Fatalf("found %d failure codes in proto and %d rejection codes in sanitizer/reject.go: have they moved?", failures, rejections)
	}
	return found
}

// stringConstants gives the constants of a file that are plain string literals, by name.
func stringConstants(f *ast.File) map[string]string {
	found := map[string]string{}
	for _, decl := range f.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.CONST {
			continue
		}
		for _, spec := range gen.Specs {
			constant := spec.(*ast.ValueSpec)
			for i, value := range constant.Values {
				literal, ok := value.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					continue
				}
				if s, err := strconv.Unquote(literal.Value); err == nil {
					found[constant.Names[i].Name] = s
				}
			}
		}
	}
	return found
}
