package reach

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

func write(t *testing.T, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func TestLookFor(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	write(t, root, "sglang/srt/a.py", "import flashinfer\n# thing(1)\nx = 1  # thing\ny = flashinfer.thing(x, thing)\nthing_else(1)\n")
	write(t, root, "sglang/srt/b.py", "from flashinfer.odd import (\n    other,\n    thing as _thing,\n)\n\ndef thing(x):\n    return _thing(x)\n")
	write(t, root, "sglang/srt/own.py", "def use():\n    return thing(1)\n") // another's: the file never says flashinfer
	write(t, root, "sglang/test/c.py", "from flashinfer import thing\n")
	write(t, root, "sglang/srt/notes.txt", "flashinfer thing\n")
	write(t, root, "sgl_kernel/d.py", "import flashinfer.odd as _f\nclass K:\n    f = _f.thing\n")
	write(t, root, "elsewhere/e.py", "from flashinfer import thing\n")
	outside := t.TempDir()
	write(t, outside, "f.py", "from flashinfer import thing\n")
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "sglang", "linked")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "f.py"), filepath.Join(root, "sglang", "f.py")))

	places, err := LookFor(fitrace.ParseAPI("flashinfer.odd.thing"), root)
	require.NoError(t, err)
	assert.Equal(t, []string{"sglang/srt/a.py:4", "sglang/srt/b.py:3", "sgl_kernel/d.py:3"}, places)

	places, err = LookFor(fitrace.ParseAPI("flashinfer.odd.nothing"), root)
	require.NoError(t, err)
	assert.Empty(t, places)

	_, err = LookFor(fitrace.ParseAPI("flashinfer.odd.thing"), outside)
	assert.ErrorContains(t, err, "has no folder sglang")
	_, err = LookFor(fitrace.API{}, root)
	assert.Error(t, err)

	write(t, root, "sglang/srt/many.py", "import flashinfer\n"+strings.Repeat("flashinfer.often()\n", 2*mostPlaces))
	write(t, root, "sglang/srt/zz.py", "import flashinfer\nflashinfer.often()\n")
	places, err = LookFor(fitrace.ParseAPI("flashinfer.often"), root)
	require.NoError(t, err)
	assert.Len(t, places, mostPlaces)

	write(t, root, "sglang/srt/classes.py", "from flashinfer import NewWrapper\nw = NewWrapper()\nclass NewWrapperUser: pass\n")
	places, err = LookFor(fitrace.ParseAPI("flashinfer.new.NewWrapper.run"), root)
	require.NoError(t, err)
	assert.Equal(t, []string{"sglang/srt/classes.py:1", "sglang/srt/classes.py:2"}, places)
}

func TestCapability(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int{
		"NVIDIA H100 80GB HBM3": 90, "NVIDIA H100 PCIe": 90, "NVIDIA H100 NVL": 90, "NVIDIA H200": 90, "NVIDIA H20": 90, "NVIDIA GH200 480GB": 90,
		"NVIDIA H100 80GB HBM3 MIG 1g.10gb": 90, "NVIDIA B200": 100, "NVIDIA GB200": 100, "NVIDIA B100": 100, "NVIDIA B300 SXM6 AC": 103, "NVIDIA GB300": 103,
		"NVIDIA A100-SXM4-80GB": 80, "NVIDIA A30": 80, "NVIDIA A10G": 86, "NVIDIA A10": 86, "NVIDIA A40": 86, "NVIDIA RTX A6000": 86, "NVIDIA GeForce RTX 3090": 86,
		"NVIDIA L4": 89, "NVIDIA L40S": 89, "NVIDIA L40": 89, "NVIDIA GeForce RTX 4090": 89, "NVIDIA GeForce RTX 4070 Ti SUPER": 89, "NVIDIA RTX 6000 Ada Generation": 89,
		"NVIDIA RTX PRO 6000 Blackwell Server Edition": 120, "NVIDIA GeForce RTX 5090": 120, "NVIDIA GeForce RTX 5090 Laptop GPU": 120, "NVIDIA GB10": 121,
		"NVIDIA Thor": 110, "Orin (nvgpu)": 87, "Tesla T4": 75, "Tesla V100-SXM2-32GB": 70, "Quadro RTX 6000": 75, "NVIDIA GeForce RTX 2080 Ti": 75,
		"": 0, "AMD Instinct MI300X": 0, "simulated": 0, "NVIDIA Rubin": 0,
	} {
		assert.Equal(t, want, Capability(name), name)
	}
}
