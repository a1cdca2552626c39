package reach

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// mostConfig bounds config.json, in bytes: real ones have some thousands.
const mostConfig = 16 << 20

// Architecture gives the model's class, the first of architectures in config.json of a local model directory. It is empty, with
// no error, where modelPath is not a directory on this machine: then it is a Hub's id, or another node's.
func Architecture(modelPath string) (string, error) {
	st, err := os.Stat(modelPath)
	if modelPath == "" || errors.Is(err, fs.ErrNotExist) || err == nil && !st.IsDir() {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("model architecture: %w", err)
	}
	path := filepath.Join(modelPath, "config.json")
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("model architecture: %w: SGLang reads the model's class there", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostConfig+1))
	if err != nil {
		return "", fmt.Errorf("model architecture: read %s: %w", path, err)
	}
	if len(data) > mostConfig {
		return "", fmt.Errorf("model architecture: %s has more than %d MiB: is it a model's configuration?", path, mostConfig>>20)
	}
	var config struct {
		Architectures []string `json:"architectures"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return "", fmt.Errorf("model architecture: %s: %w", path, err)
	}
	if len(config.Architectures) == 0 || config.Architectures[0] == "" {
		return "", fmt.Errorf("model architecture: %s: architectures is empty: SGLang needs the model's class there", path)
	}
	return config.Architectures[0], nil
}
