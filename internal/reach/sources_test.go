package reach

import (
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// wheelsVariable names a folder with wheels, packed or unpacked into folders of their names: sglang-0.5.16, sglang_kernel-0.4.5,
// flashinfer_python-0.6.14.
const wheelsVariable = "TRACEFLEET_SGLANG_WHEELS"

// TestSources holds each statement's sources against the released packages: the name is in that file, at that line or near it. What
// no case of an API calls in a release, its SGLang does not import from FlashInfer; what one does call, a source names, and
// FlashInfer decorates for its log; and the flags a case requires are among the release's.
func TestSources(t *testing.T) {
	t.Parallel()
	folder := os.Getenv(wheelsVariable)
	if folder == "" {
		t.Skip(wheelsVariable + " names no folder with wheels of SGLang, sgl_kernel and FlashInfer")
	}
	tab, err := known()
	require.NoError(t, err)
	for _, v := range tab.Releases {
		t.Run(v.SGLang, func(t *testing.T) {
			t.Parallel()
			sglang := open(t, folder, "sglang-"+v.SGLang)
			if sglang == nil {
				t.Skipf("%s has no sglang-%s", folder, v.SGLang)
			}
			packages := map[string]fs.FS{"sglang": sglang, "sgl_kernel": open(t, folder, "sglang_kernel-"+v.SGLKernel, "sgl_kernel-"+v.SGLKernel)}
			checked, absent := checkNames(t, tab, v, packages)
			checkCalled(t, tab, v, packages)
			server := python(t, sglang, "sglang/srt")
			checkNever(t, tab, v, server)
			checkFlags(t, tab, v, server)
			logged := 0
			if flashinfer := open(t, folder, "flashinfer_python-"+v.FlashInfer); flashinfer != nil {
				logged = checkLogged(t, tab, v, python(t, flashinfer, "flashinfer"))
			}
			t.Logf("%d places hold, %d in packages that %s lacks; %d APIs are decorated", checked, absent, folder, logged)
			assert.Positive(t, checked)
		})
	}
}

func checkNames(t *testing.T, tab *table, v version, packages map[string]fs.FS) (checked, absent int) {
	t.Helper()
	var list []source
	for _, e := range tab.APIs {
		for _, c := range e.Cases {
			list = append(list, c.Sources...)
		}
	}
	for _, f := range tab.Fusion {
		list = append(list, f.Sources...)
		if f.span.holds(v.number) {
			text, err := fs.ReadFile(packages["sglang"], path.Join("sglang", f.Sources[0].File))
			require.NoError(t, err)
			for _, a := range f.Architectures {
				assert.Contains(t, string(text), `"`+a+`"`)
			}
		}
	}
	for _, src := range list {
		line, ok := src.Lines[v.SGLang]
		if !ok {
			continue
		}
		tree := packages[src.Package]
		if tree == nil {
			absent++
			continue
		}
		text, err := fs.ReadFile(tree, path.Join(src.Package, src.File))
		if !assert.NoError(t, err) {
			continue
		}
		lines := strings.Split(string(text), "\n")
		near := strings.Join(lines[min(max(0, line-4), len(lines)):min(line+3, len(lines))], "\n")
		assert.Contains(t, near, src.Names, "%s %s:%d", src.Package, src.File, line)
		checked++
	}
	return checked, absent
}

// checkCalled holds that what is said to be called is named by one of the files that are said to call it.
func checkCalled(t *testing.T, tab *table, v version, packages map[string]fs.FS) {
	t.Helper()
	for _, e := range tab.APIs {
		name := e.api.Class
		if name == "" {
			name = e.api.Method
		}
		word := regexp.MustCompile(`\b` + name + `\b`)
		for _, c := range e.Cases {
			if c.Never || !c.span.holds(v.number) {
				continue
			}
			named, absent := false, false
			for _, src := range c.Sources {
				tree := packages[src.Package]
				absent = absent || tree == nil
				if tree == nil || src.Lines[v.SGLang] == 0 {
					continue
				}
				text, err := fs.ReadFile(tree, path.Join(src.Package, src.File))
				require.NoError(t, err)
				named = named || word.Match(text)
			}
			assert.True(t, named || absent, "no source of %s, %s on, names it in SGLang %s", e.API, c.From, v.SGLang)
		}
	}
}

// importPattern is a from-import of FlashInfer, with what it names.
var importPattern = regexp.MustCompile(`(?m)^\s*from flashinfer[\w.]* import (\([^)]*\)|[^\n]*)`)

func checkNever(t *testing.T, tab *table, v version, server map[string]string) {
	t.Helper()
	for _, e := range tab.APIs {
		never := slices.ContainsFunc(e.Cases, func(c *apiCase) bool { return c.span.holds(v.number) && c.Never })
		called := slices.ContainsFunc(e.Cases, func(c *apiCase) bool { return c.span.holds(v.number) && !c.Never })
		if !never || called {
			continue
		}
		word := regexp.MustCompile(`\b` + e.api.Method + `\b`)
		for name, text := range server {
			for _, m := range importPattern.FindAllStringSubmatch(text, -1) {
				assert.False(t, word.MatchString(m[1]), "%s is never called, says apis.json, and %s imports it", e.API, name)
			}
		}
	}
}

// checkFlags looks for the flag, or the field it is made from, and for its value.
func checkFlags(t *testing.T, tab *table, v version, server map[string]string) {
	t.Helper()
	var arguments strings.Builder
	for name, text := range server {
		if strings.HasSuffix(name, "server_args.py") || strings.Contains(name, "/arg_groups/") || strings.Contains(name, "mamba/ops") {
			arguments.WriteString(text)
		}
	}
	all := arguments.String()
	for _, e := range tab.APIs {
		for _, c := range e.Cases {
			if !c.span.holds(v.number) {
				continue
			}
			for _, f := range slices.Concat(c.Requires, c.Implied) {
				flag, value, _ := strings.Cut(f, " ")
				field := strings.ReplaceAll(strings.TrimPrefix(flag, "--"), "-", "_")
				assert.True(t, strings.Contains(all, `"`+flag+`"`) || strings.Contains(all, "\n    "+field+": "), "%s: SGLang %s has no %s", e.API, v.SGLang, flag)
				assert.True(t, value == "" || strings.Contains(all, `"`+value+`"`), "%s: SGLang %s has no value %s", e.API, v.SGLang, value)
			}
		}
	}
}

// checkLogged looks for the decorator that FlashInfer's log hangs on.
func checkLogged(t *testing.T, tab *table, v version, flashinfer map[string]string) (found int) {
	t.Helper()
	for _, e := range tab.APIs {
		if !slices.ContainsFunc(e.Cases, func(c *apiCase) bool { return c.span.holds(v.number) && !c.Never }) {
			continue
		}
		assert.True(t, decorated(e.api, flashinfer), "FlashInfer %s does not log %s", v.FlashInfer, e.API)
		found++
	}
	return found
}

// decorated reports whether a file defines the function, below @flashinfer_api; of a class, in the class.
func decorated(api fitrace.API, files map[string]string) bool {
	def := regexp.MustCompile(`(?m)((?:^[ \t]*@[^\n]*\n(?:[ \t]+[^\n]*\n|\)\n)*)+)[ \t]*def ` + api.Method + `\(`)
	for _, text := range files {
		if !strings.Contains(text, "def "+api.Method+"(") {
			continue
		}
		if api.Class != "" {
			_, after, ok := strings.Cut(text, "\nclass "+api.Class)
			if !ok {
				continue
			}
			text, _, _ = strings.Cut(after, "\nclass ")
		}
		for _, m := range def.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "@flashinfer_api") {
				return true
			}
		}
	}
	return false
}

// open gives the tree of a package, unpacked or in a wheel, or nil where the folder has neither.
func open(t *testing.T, folder string, names ...string) fs.FS {
	t.Helper()
	for _, name := range names {
		if st, err := os.Stat(filepath.Join(folder, name)); err == nil && st.IsDir() {
			return os.DirFS(filepath.Join(folder, name))
		}
		wheels, err := filepath.Glob(filepath.Join(folder, name+"-*.whl"))
		require.NoError(t, err)
		if len(wheels) > 0 {
			r, err := zip.OpenReader(wheels[0])
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, r.Close()) })
			return r
		}
	}
	return nil
}

// python reads the source files below a folder, by their paths.
func python(t *testing.T, tree fs.FS, folder string) map[string]string {
	t.Helper()
	files := map[string]string{}
	require.NoError(t, fs.WalkDir(tree, folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".py" {
			return err
		}
		f, err := tree.Open(name)
		if err != nil {
			return fmt.Errorf("open %s: %w", name, err)
		}
		defer f.Close()
		text, err := io.ReadAll(f)
		files[name] = string(text)
		return err
	}))
	return files
}
