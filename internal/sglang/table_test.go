package sglang

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/goldentest"
)

func TestKnown_EveryReleaseOfTheRange(t *testing.T) {
	t.Parallel()
	want := []string{
		"0.5.8", "0.5.8.post1", "0.5.9", "0.5.10", "0.5.10.post1", "0.5.11", "0.5.12", "0.5.12.post1", "0.5.13", "0.5.13.post1", "0.5.14", "0.5.15",
		"0.5.15.post1", "0.5.16", "0.5.17", "0.5.18", "0.5.19", "0.5.20", "0.5.21", "0.5.22", "0.5.23",
	}
	require.Equal(t, want, Known())
	for i, release := range want {
		v, err := ParseRelease(release)
		require.NoError(t, err)
		if i > 0 {
			before, err := ParseRelease(want[i-1])
			require.NoError(t, err)
			require.Equal(t, 1, v.Compare(before), "%s after %s", release, want[i-1])
		}
	}
}

func TestTables_AreWhole(t *testing.T) {
	t.Parallel()
	for _, release := range Known() {
		table, err := Lookup(release, false)
		require.NoError(t, err)
		require.Equal(t, release, table.Release)
		require.Greater(t, len(table.Options), 300, release)
		require.Greater(t, len(table.Keywords), 300, release)
		require.NotEmpty(t, table.FlashInfer, release)
		require.True(t, table.Option("--model-path").Required, release)
		require.True(t, table.HasRoute("/generate"), release)
		for _, o := range table.Options {
			if o.Field != "" {
				require.Contains(t, table.Keywords, o.Field, "%s %s", release, o.Name())
			}
			require.Contains(t, []string{"0", "1", "?", "*", "+"}, o.Arity, "%s %s", release, o.Name())
			require.Contains(t, []string{"str", "int", "float", "json", "json_list_type", "human_readable_int", "nullable_str", "parse_cuda_graph_config_arg",
				"parse_cuda_graph_backend_arg"}, o.Type, "%s %s: a converter that option.go does not know", release, o.Name())
		}
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		release string
		any     bool
		want    string // empty: a ReleaseError
	}{
		{"0.5.16", false, "0.5.16"},
		{"0.5.12.post1", false, "0.5.12.post1"},
		{"0.5.16+cu129", false, "0.5.16"},
		{"v0.5.16", false, "0.5.16"},
		{"0.5.16.post2", false, "0.5.16"},
		{"0.5.17rc1", false, "0.5.16"},
		{"0.5.17.dev3", false, "0.5.16"},
		{"0.5.7", false, ""},
		{"0.5.8rc1", false, ""},
		{"0.5.24", false, ""},
		{"0.5.23.post1", false, ""},
		{"0.6", false, ""},
		{"latest", false, ""},
		{"", true, ""},
		{"0.5.7", true, "0.5.8"},
		{"0.6.1", true, "0.5.23"},
	} {
		table, err := Lookup(tc.release, tc.any)
		if tc.want == "" {
			var outside *ReleaseError
			require.ErrorAs(t, err, &outside, tc.release)
			require.ErrorContains(t, err, "0.5.8 to 0.5.23")
			continue
		}
		require.NoError(t, err, tc.release)
		require.Equal(t, tc.want, table.Release, tc.release)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	ordered := []string{"nonsense", "0.5.9", "0.5.16.dev1", "0.5.16a1", "0.5.16rc1", "0.5.16rc2", "0.5.16", "0.5.16.post1", "0.5.16.post2", "0.6", "0.10", "1.0"}
	for i, a := range ordered {
		for j, b := range ordered {
			require.Equal(t, min(1, max(-1, i-j)), Compare(a, b), "%s and %s", a, b)
		}
	}
	require.Zero(t, Compare("0.6", "0.6.0"))
	require.Zero(t, Compare("0.5.16+cu130", "0.5.16"))
}

func TestDecode_BadRecordings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ lines, want string }{
		{`{"releases":["1"]}` + "\n" + `{"option":["--a"],"in":["2"]}`, `line 2: "2" is no span`},
		{`{"releases":["1","2"]}` + "\n" + `{"option":["--a"],"in":["2..1"]}`, `line 2: "2..1" is no span`},
		{`{"releases":["1"]}` + "\n" + `nonsense`, "line 2: "},
	} {
		_, _, err := decode([]byte(tc.lines))
		require.ErrorContains(t, err, tc.want)
	}
}

// TestTables_AgreeWithAnotherReading compares with a table that somebody else made of the same wheels' parsers.
func TestTables_AgreeWithAnotherReading(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(goldentest.Shared(t, "facts", "sglang-options.json"))
	require.NoError(t, err)
	var other struct {
		Releases     []string
		Options      map[string]map[string]any
		EngineFields map[string]map[string]any `json:"engine_fields"`
	}
	require.NoError(t, json.Unmarshal(data, &other))
	in := func(v any, release string) bool {
		for _, span := range v.([]any) {
			first, last, isSpan := strings.Cut(span.(string), "..")
			if !isSpan {
				last = first
			}
			at := slices.Index(other.Releases, release)
			if slices.Index(other.Releases, first) <= at && at <= slices.Index(other.Releases, last) {
				return true
			}
		}
		return false
	}
	// What they leave out where it is usual is given by usual.
	value := func(o map[string]any, name, release string, usual any) any {
		if by, ok := o[name+"_by_release"].(map[string]any); ok {
			for span, v := range by {
				if in([]any{span}, release) {
					return v
				}
			}
		}
		if v, ok := o[name]; ok {
			return v
		}
		return usual
	}
	compared := 0
	for _, release := range other.Releases {
		if !slices.Contains(Known(), release) {
			continue
		}
		table, err := Lookup(release, false)
		require.NoError(t, err)
		var theirs, ours []string
		for name, o := range other.Options {
			if !in(o["in"], release) {
				continue
			}
			theirs = append(theirs, name)
			compared++
			our := table.Option(name)
			if our == nil {
				continue // reported below
			}
			arity := value(o, "nargs", release, nil)
			if arity == nil {
				arity = "1"
			} else if n, isNumber := arity.(float64); isNumber && n == 0 {
				arity = "0"
			}
			require.Equal(t, arity, our.Arity, "%s %s", release, name)
			var choices []string
			if list, ok := value(o, "choices", release, nil).([]any); ok {
				for _, c := range list {
					b, err := json.Marshal(c)
					require.NoError(t, err)
					choices = append(choices, strings.Trim(string(b), `"`))
				}
			}
			require.ElementsMatch(t, choices, our.Choices, "%s %s", release, name)
			if value(o, "deprecated", release, nil) != nil {
				require.True(t, our.Deprecated, "%s %s is deprecated", release, name)
			}
		}
		for _, o := range table.Options {
			ours = append(ours, o.Names...)
		}
		slices.Sort(theirs)
		slices.Sort(ours)
		require.Equal(t, theirs, ours, "spellings of %s", release)
		for name, f := range other.EngineFields {
			if strings.HasPrefix(name, "_") {
				require.NotContains(t, table.Keywords, name, "%s is SGLang's own business", name)
				continue
			}
			_, has := table.Keywords[name]
			require.Equal(t, in(f["in"], release), has, "keyword %s of %s", name, release)
		}
	}
	require.Greater(t, compared, 3000)
}
