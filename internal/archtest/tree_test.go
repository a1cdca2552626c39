package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/tracefleet/tracefleet"

// file is one Go source file of the module.
type file struct {
	path    string // relative to the repository's root, with slashes
	pkg     string // directory, "" for the root: coordinator, internal/bus/bustest
	test    bool
	lines   int
	imports []string
	ast     *ast.File
}

// root gives the repository's root: the directory above this package's that holds go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("%s is not the repository's root: %v", dir, err)
	}
	return dir
}

// readTree parses every Go file of the module. Directories the go command ignores are left out.
func readTree(t *testing.T) []file {
	t.Helper()
	base := root(t)
	var files []file
	err := filepath.WalkDir(base, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != base && (name == "testdata" || name == "vendor" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(base, p)
		if err != nil {
			return err
		}
		f, err := readFile(p, filepath.ToSlash(rel))
		files = append(files, f)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files below %s", len(files), base)
	}
	return files
}

func readFile(p, rel string) (file, error) {
	data, err := os.ReadFile(p)
	if err != nil {
		return file{}, err
	}
	tree, err := parser.ParseFile(token.NewFileSet(), p, data, parser.SkipObjectResolution)
	if err != nil {
		return file{}, err
	}
	f := file{path: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), lines: strings.Count(string(data), "\n"), ast: tree}
	if f.pkg == "." {
		f.pkg = ""
	}
	for _, spec := range tree.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return file{}, err
		}
		f.imports = append(f.imports, name)
	}
	return f, nil
}

// ours gives an import's directory in the module, if it is one of ours.
func ours(importPath string) (pkg string, ok bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// within reports whether pkg is dir or below it.
func within(pkg, dir string) bool { return pkg == dir || strings.HasPrefix(pkg, dir+"/") }

// withinAny gives the first of dirs that holds pkg, or "".
func withinAny(pkg string, dirs []string) string {
	for _, dir := range dirs {
		if within(pkg, dir) {
			return dir
		}
	}
	return ""
}
