package childenv_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/childenv"
)

// A real child prints what it has: the tokens and the broker's are not among it, and all else is.
func TestWithout(t *testing.T) {
	for _, name := range []string{
		"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN", "hf_token",
		"NATS_URL", "NATS_CREDS", "TRACEFLEET_NATS", "TRACEFLEET_NKEY",
	} {
		t.Setenv(name, "secret")
	}
	t.Setenv("HF_HOME", "/models")
	t.Setenv("HF_TOKENIZER", "kept")
	before := os.Environ()
	env := childenv.Without(before)
	require.Equal(t, os.Environ(), before)
	cmd := exec.Command("env")
	cmd.Env = env
	out, err := cmd.Output()
	require.NoError(t, err)
	require.NotContains(t, string(out), "secret")
	for _, kept := range []string{"HF_HOME=/models", "HF_TOKENIZER=kept", "PATH=" + os.Getenv("PATH")} {
		require.Contains(t, strings.Split(string(out), "\n"), kept)
	}
}
