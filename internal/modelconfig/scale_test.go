package modelconfig

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const deepseek = `{"architectures": ["DeepseekV2ForCausalLM"], "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rope_scaling": %ROPE%}`

// TestScale_KnownModels_IsSGLangsScaling compares with figures from SGLang: 0.11472138679 is what a paged MLA plan of a DeepSeek-V2
// shape logged on an H200.
func TestScale_KnownModels_IsSGLangsScaling(t *testing.T) {
	t.Parallel()
	const width = 0.07216878364870323 // 192^-0.5
	for name, c := range map[string]struct {
		config string
		want   float64
	}{
		"YaRN, measured":                {rope(`{"type": "yarn", "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707}`), 0.11472138679},
		"YaRN by rope_type":             {rope(`{"rope_type": "deepseek_yarn", "factor": 40, "mscale_all_dim": 1.0}`), 0.1352337788608801},
		"no rope_scaling":               {rope(`null`), width},
		"default":                       {rope(`{"rope_type": "default", "rope_theta": 10000}`), width},
		"factor 1":                      {rope(`{"type": "yarn", "factor": 1, "mscale_all_dim": 1.0}`), width},
		"no mscale_all_dim":             {rope(`{"type": "yarn", "factor": 40, "mscale": 1.0}`), width},
		"scaling off":                   {rope(`{"type": "yarn", "factor": 40, "mscale_all_dim": 1.0, "apply_yarn_scaling": false}`), width},
		"rope_parameters go first":      {strings.Replace(rope(`null`), `"rope_scaling"`, `"rope_parameters": {"rope_type": "yarn", "factor": 40, "mscale_all_dim": 0.707}, "rope_scaling"`, 1), 0.11472138679},
		"text_config of a vision model": {`{"architectures": ["KimiK25ForConditionalGeneration"], "text_config": ` + rope(`null`) + `}`, width},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := Parse([]byte(c.config), "")
			require.NoError(t, err)
			s, err := config.Scale()
			require.NoError(t, err)
			require.InEpsilon(t, c.want, s.Value, 1e-10)
		})
	}
}

func rope(json string) string { return strings.Replace(deepseek, "%ROPE%", json, 1) }

func TestScale_UnknownScale_IsRefusedWithItsField(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ config, want string }{
		"another architecture": {strings.Replace(rope("null"), "DeepseekV2", "Llama", 1), "architectures is [LlamaForCausalLM]"},
		"no architecture":      {`{}`, "architectures is []"},
		"no width":             {strings.Replace(rope("null"), "128", "0", 1), "qk_nope_head_dim is 0"},
		"another rope":         {rope(`{"type": "linear", "factor": 4}`), `rope_scaling has the type "linear"`},
		"no type":              {rope(`{"factor": 40, "mscale_all_dim": 1.0}`), `rope_scaling has the type ""`},
		"a number for rope":    {rope(`7`), "rope_scaling is a number"},
		"text for a number":    {rope(`{"type": "yarn", "factor": "40"}`), "rope_scaling.factor is a string"},
		"scale zero":           {rope(`{"type": "yarn", "factor": 40, "mscale_all_dim": -1e300}`), "which give the scale"},
		"no JSON":              {`{`, "unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := Parse([]byte(c.config), "")
			if err == nil {
				_, err = config.Scale()
			}
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestReadScale_DirectoryOrFile_NamesTheFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	_, err := ReadScale(dir)
	require.EqualError(t, err, "read model configuration: open "+path+": no such file or directory")
	require.NoError(t, os.WriteFile(path, []byte(rope("null")), 0o600))
	for _, p := range []string{dir, path} {
		s, err := ReadScale(p)
		require.NoError(t, err)
		require.Equal(t, "192^-0.5", s.How)
	}
	require.NoError(t, os.WriteFile(path, []byte(`{}`), 0o600))
	_, err = ReadScale(dir)
	require.ErrorContains(t, err, path+": architectures")
}
