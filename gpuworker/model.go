package gpuworker

import (
	"os"
	"path/filepath"
)

// modelPath returns the absolute path of a model that is a directory here, and other names as they are: a relative path such as
// models/llama reads like a repository's name, and the publisher must write only the last element of a path.
func modelPath(model string) string {
	if model == "" {
		return ""
	}
	if info, err := os.Stat(model); err != nil || !info.IsDir() {
		return model
	}
	if abs, err := filepath.Abs(model); err == nil {
		return abs
	}
	return model
}
