package cli

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShellJoin_AShellReadsItBack(t *testing.T) {
	t.Parallel()
	argv := []string{"plain", "--flag=value", "", "two words", "it's", `{"a": [1, "b"]}`, "$HOME `id` \\ !", "line\nbreak", "~", "a;b|c&d>e<f(g)*?[]#"}
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("sh is not on the PATH")
	}
	out, err := exec.Command(sh, "-c", `printf '%s\0' `+ShellJoin(argv)).Output()
	require.NoError(t, err)
	require.Equal(t, strings.Join(argv, "\x00")+"\x00", string(out))
	require.Equal(t, "python3 -m venv /env", ShellJoin([]string{"python3", "-m", "venv", "/env"}))
}
