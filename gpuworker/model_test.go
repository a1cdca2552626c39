package gpuworker

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestModelPath_LocalDirectory_IsAbsolute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.MkdirAll("models/llama", 0o755))
	here, err := os.Getwd()
	require.NoError(t, err)
	for model, want := range map[string]string{
		"models/llama": filepath.Join(here, "models/llama"), "meta-llama/Llama-3.1-8B": "meta-llama/Llama-3.1-8B", "": "", "/no/such": "/no/such",
	} {
		require.Equal(t, want, modelPath(model), model)
	}
}
