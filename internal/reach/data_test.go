package reach

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every range is spoken of up to the newest release: what a release gives up gets a case of its own that says so.
func TestData_ReachesTheNewestRelease(t *testing.T) {
	t.Parallel()
	tab, err := known()
	require.NoError(t, err)
	newest := tab.Releases[len(tab.Releases)-1].number
	for _, e := range tab.APIs {
		holds := false
		for _, c := range e.Cases {
			holds = holds || c.span.holds(newest)
			assert.False(t, strings.HasSuffix(c.Why, "."), "%s: a reason is part of a sentence", e.API)
			if c.Never {
				assert.Empty(t, c.Requires, "%s: flags of what is never called", e.API)
			}
		}
		assert.True(t, holds, e.API)
	}
}

// parse refuses what a hand may get wrong.
func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	const good = `{"releases": [{"sglang": "0.5.8"}, {"sglang": "0.5.12"}],
		"fusion": [{"from": "0.5.12", "architectures": ["A"], "sources": [{"package": "sglang", "file": "f.py", "names": "A", "lines": {"0.5.12": 1}}]}],
		"apis": [{"api": "flashinfer.x", "cases": [{"from": "0.5.8", "mode": "any", "why": "it is", "gpus": ["sm90"], "requires": ["--a b"],
			"sources": [{"package": "sglang", "file": "f.py", "names": "x", "lines": {"0.5.8": 1, "0.5.12": 2}}]}]}]}`
	_, err := parse([]byte(good))
	require.NoError(t, err)
	for _, c := range []struct{ name, old, new, want string }{
		{"a field of no meaning", `"why"`, `"whence"`, "whence"},
		{"no reason", `"it is"`, `""`, "why is empty"},
		{"no mode", `"mode": "any"`, `"stage": "decode"`, "either a mode or never"},
		{"a mode and never", `"mode": "any"`, `"mode": "any", "never": true`, "either a mode or never"},
		{"another mode", `"any"`, `"always"`, `mode "always"`},
		{"another stage", `"mode": "any"`, `"mode": "any", "stage": "train"`, `stage "train"`},
		{"another GPU", `sm90`, `h100`, "h100"},
		{"no flag", `--a b`, `a b`, "not a flag"},
		{"a release without a source", `"lines": {"0.5.8": 1, `, `"lines": {`, "no source of SGLang 0.5.8"},
		{"a source of a release that was not read", `"0.5.8": 1, `, `"0.5.8": 1, "0.5.9": 1, `, "0.5.9"},
		{"a source outside the range", `"from": "0.5.8", "mode"`, `"from": "0.5.12", "mode"`, "outside the range"},
		{"a source that names nothing", `"names": "x"`, `"names": ""`, "all three"},
		{"another package", `"package": "sglang", "file": "f.py", "names": "x"`, `"package": "torch", "file": "f.py", "names": "x"`, "torch"},
		{"a range without a start", `"from": "0.5.8", "mode"`, `"from": "first", "mode"`, "first"},
		{"a range that ends before it starts", `"from": "0.5.8", "mode"`, `"from": "0.5.8", "before": "0.5.7", "mode"`, "0.5.7"},
		{"releases out of order", `{"sglang": "0.5.12"}`, `{"sglang": "0.5.7"}`, "ascend"},
		{"no releases", `[{"sglang": "0.5.8"}, {"sglang": "0.5.12"}]`, `[]`, "releases is empty"},
		{"an API without cases", `"cases": [{`, `"cases": []}, {"api": "flashinfer.y", "cases": [{`, "one entry"},
		{"an API twice", `"apis": [`, `"apis": [{"api": "flashinfer.mod.x", "cases": [{"from": "0.5.12", "never": true, "why": "no", "sources": [{"package": "sglang", "file": "f", "names": "x", "lines": {"0.5.12": 1}}]}]}, `, "one entry"},
		{"fusion without a source", `"lines": {"0.5.12": 1}`, `"lines": {}`, "fusion"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, 1, strings.Count(good, c.old), "the change must be made once")
			_, err := parse([]byte(strings.Replace(good, c.old, c.new, 1)))
			assert.ErrorContains(t, err, c.want)
		})
	}
}
