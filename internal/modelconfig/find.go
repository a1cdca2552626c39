package modelconfig

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// mostConfig bounds config.json, in bytes: real ones have some thousands.
const mostConfig = 16 << 20

// ReadDir reads the configuration in a model's directory. It returns nil, without an error, if path is not a directory on this
// machine: then it is the name of a Hub repository, or a directory of another node. A configuration without architectures is an
// error, because SGLang reads the model's class there.
func ReadDir(path, overrides string) (*Config, error) {
	info, err := os.Stat(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read model configuration: %w", err)
	}
	c, err := ReadFile(filepath.Join(path, "config.json"), overrides)
	if err == nil && c.Architecture() == "" {
		return nil, fmt.Errorf("model configuration %s: architectures is empty, must name the model's class", filepath.Join(path, "config.json"))
	}
	return c, err
}

// ReadFile reads a config.json.
func ReadFile(path, overrides string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read model configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read model configuration %s: %w", path, err)
	}
	if len(data) > mostConfig {
		return nil, fmt.Errorf("read model configuration %s: it has more than %d MiB; is it a model's configuration?", path, mostConfig>>20)
	}
	c, err := Parse(data, overrides)
	if err != nil {
		return nil, fmt.Errorf("model configuration %s: %w", path, err)
	}
	return c, nil
}
