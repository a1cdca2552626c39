package reach

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// What a search is bounded by. SGLang 0.5.23 has some 80 MiB of Python, its largest file 1 MiB.
const (
	mostPlaces = 50
	mostFile   = 4 << 20   // bytes; larger files are no source code
	mostRead   = 512 << 20 // bytes in all
)

// lookFolders are what of site-packages a server runs from, and skipFolders what it does not.
var (
	lookFolders = []string{"sglang", "sgl_kernel"}
	skipFolders = []string{"test", "tests", "benchmark", "benchmarks", "multimodal_gen", "__pycache__"}
)

// LookFor gives the places, as "sglang/srt/file.py:line", where the SGLang below root, a site-packages folder, imports or calls
// the API: for APIs that Ask knows nothing of. Only files that mention FlashInfer count, and of them lines that name the
// function, or the class, outside comments and definitions. A place is a hint, not a proof that the call is ever made. There are at
// most 50. Symbolic links are not followed. A root without an SGLang is an error.
func LookFor(api fitrace.API, root string) ([]string, error) {
	name := api.Class
	if name == "" {
		name = api.Method
	}
	if name == "" {
		return nil, errors.New("look for an API: it has no name")
	}
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", api, err)
	}
	defer dir.Close()
	s := search{
		fsys:    dir.FS(),
		word:    regexp.MustCompile(`(?m)^[^#\n]*?\b` + regexp.QuoteMeta(name) + `\b`), // what follows a # is no code
		defined: regexp.MustCompile(`^\s*(?:async )?(?:def|class) ` + regexp.QuoteMeta(name) + `$`),
	}
	found := false
	for _, folder := range lookFolders {
		if st, err := fs.Lstat(s.fsys, folder); err != nil || !st.IsDir() {
			continue
		}
		found = found || folder == "sglang"
		if err := fs.WalkDir(s.fsys, folder, s.visit); err != nil {
			return nil, fmt.Errorf("look for %s in %s: %w", api, root, err)
		}
	}
	if !found {
		return nil, fmt.Errorf("look for %s: %s has no folder sglang: name the site-packages folder that SGLang is installed in", api, root)
	}
	return s.places, nil
}

type search struct {
	fsys          fs.FS
	word, defined *regexp.Regexp
	places        []string
	read          int64
}

func (s *search) visit(name string, entry fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return err
	case entry.IsDir() && slices.Contains(skipFolders, entry.Name()):
		return fs.SkipDir
	case !entry.Type().IsRegular() || path.Ext(name) != ".py":
		return nil
	}
	f, err := s.fsys.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostFile+1))
	if err != nil {
		return err
	}
	if s.read += int64(len(data)); s.read > mostRead {
		return fmt.Errorf("more than %d MiB of Python: this is no site-packages of SGLang", mostRead>>20)
	}
	if len(data) > mostFile || !bytes.Contains(data, []byte("flashinfer")) {
		return nil
	}
	for _, at := range s.word.FindAllIndex(data, -1) {
		if s.defined.Match(data[at[0]:at[1]]) {
			continue
		}
		s.places = append(s.places, fmt.Sprintf("%s:%d", name, 1+bytes.Count(data[:at[0]], []byte("\n"))))
		if len(s.places) == mostPlaces {
			return fs.SkipAll
		}
	}
	return nil
}
