package traffic

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/modelconfig"
	"github.com/tracefleet/tracefleet/proto"
)

// The copy of ShareGPT that everyone has.
const (
	shareGPTRepo = "anon8231489123/ShareGPT_Vicuna_unfiltered"
	shareGPTFile = "ShareGPT_V3_unfiltered_cleaned_split.json"
)

// hubCache is where huggingface_hub keeps what it downloaded.
func hubCache() string {
	home, _ := os.UserHomeDir()
	if dir := cmp.Or(os.Getenv("HF_HUB_CACHE"), os.Getenv("HUGGINGFACE_HUB_CACHE")); dir != "" {
		return dir
	}
	if dir := os.Getenv("HF_HOME"); dir != "" {
		return filepath.Join(dir, "hub")
	}
	return filepath.Join(cmp.Or(os.Getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "huggingface", "hub")
}

// cached finds a file of a repository in the cache: of the revision that main was at when it was last asked for, else of the last
// revision by name that has the file. kind is models or datasets. The second result is where it was looked for.
func cached(cache, kind, repo, file string) (string, string) {
	dir := filepath.Join(cmp.Or(cache, hubCache()), kind+"--"+strings.ReplaceAll(repo, "/", "--"))
	if head, err := os.ReadFile(filepath.Join(dir, "refs", "main")); err == nil {
		path := filepath.Join(dir, "snapshots", filepath.Base(strings.TrimSpace(string(head))), file)
		if _, err := os.Stat(path); err == nil {
			return path, dir
		}
	}
	revisions, _ := os.ReadDir(filepath.Join(dir, "snapshots"))
	for _, r := range slices.Backward(revisions) {
		path := filepath.Join(dir, "snapshots", r.Name(), file)
		if _, err := os.Stat(path); err == nil {
			return path, dir
		}
	}
	return "", dir
}

// findShareGPT returns the path that was asked for, or that of the cached copy.
func findShareGPT(path, cache string) (string, error) {
	if path != "" {
		return path, nil
	}
	path, where := cached(cache, "datasets", shareGPTRepo, shareGPTFile)
	if path == "" {
		return "", proto.Failf(proto.CodeBadTraffic, "traffic: no ShareGPT file: no sharegpt_path is given, and the Hugging Face cache has none at %s",
			filepath.Join(where, "snapshots", "*", shareGPTFile)).
			WithHint("give --sharegpt-path, or fetch it on this worker: hf download --repo-type dataset %s %s", shareGPTRepo, shareGPTFile)
	}
	return path, nil
}

// ModelConfig returns the path of a model's config.json: in modelPath if that is a directory with one, else in the Hugging Face
// cache. Empty: it is not on this node.
func ModelConfig(modelPath string) string {
	if modelPath == "" {
		return ""
	}
	path := filepath.Join(modelPath, "config.json")
	if _, err := os.Stat(path); err != nil {
		path, _ = cached("", "models", modelPath, "config.json")
	}
	return path
}

// VocabSize returns how many token ids a model takes, by its config.json, or 0: it is not known on this node.
func VocabSize(modelPath string) int {
	path := ModelConfig(modelPath)
	if path == "" {
		return 0
	}
	c, err := modelconfig.ReadFile(path, "")
	if err != nil || c.VocabSize < 2 {
		return 0
	}
	return c.VocabSize
}
