package traffic_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

// conversation has turns of so many tokens.
func conversation(tokens ...int) string {
	var turns []string
	for i, n := range tokens {
		turns = append(turns, fmt.Sprintf(`{"from": %q, "value": %q}`, []string{"human", "gpt"}[i%2], strings.Repeat("word", n)))
	}
	return `{"id": "x", "conversations": [` + strings.Join(turns, ", ") + `]}`
}

func shareGPT(batch, batches int, path string) *proto.Task {
	return task(proto.ModeAny, batch, batches, func(t *proto.Task) { t.Traffic.Dataset, t.Traffic.ShareGPTPath = "sharegpt", path })
}

func TestShareGPT(t *testing.T) {
	t.Parallel()
	path := file(t, "sharegpt.json", "["+strings.Join([]string{
		conversation(10, 3), conversation(20, 40, 5), conversation(), conversation(9), conversation(1, 5), conversation(65, 5),
		`{"conversation": [{"value": "` + strings.Repeat("word", 64) + `"}, {"value": "` + strings.Repeat("word", 2) + `"}]}`,
	}, ",\n")+"]\n")
	s := source(t, shareGPT(3, 2, path), traffic.Options{})
	require.Equal(t, 6, s.Total())
	require.Equal(t, []string{"sharegpt " + path + ": 3 of 7 conversations fit, 3 drawn; left out are 0 rows without a conversation, 2 of fewer than two turns, 1 too short, 1 with too long a prompt"}, s.Notes())
	got := [][2]int{}
	list := all(s)
	for _, r := range list {
		got = append(got, [2]int{len(r.InputIDs), r.MaxNewTokens})
		require.Empty(t, r.Messages)
	}
	require.ElementsMatch(t, [][2]int{{10, 3}, {20, 16}, {64, 2}}, got[:3], "answers are cut at osl")
	require.Equal(t, got[:3], got[3:], "played in turn again")
	require.NotEqual(t, list[0].InputIDs, list[3].InputIDs, "but with tokens of its own")
}

// TestShareGPT_Sample: every conversation has the same chance, wherever it is in the file, and the seed decides.
func TestShareGPT_Sample(t *testing.T) {
	t.Parallel()
	var entries []string
	for n := range 40 {
		entries = append(entries, conversation(n+2, 2))
	}
	path := file(t, "sharegpt.json", "["+strings.Join(entries, ",")+"]")
	drawn := func(seed int64) (lengths []int) {
		task := shareGPT(10, 1, path)
		task.Traffic.Seed = seed
		for _, r := range all(source(t, task, traffic.Options{})) {
			lengths = append(lengths, len(r.InputIDs))
		}
		return lengths
	}
	require.Equal(t, drawn(1), drawn(1))
	require.NotEqual(t, drawn(1), drawn(2))
	var order []int
	for _, r := range all(source(t, shareGPT(10, 4, path), traffic.Options{})) {
		order = append(order, len(r.InputIDs))
	}
	require.Len(t, order, 40)
	require.False(t, slices.IsSorted(order), "in random order, also where all are drawn")
	times := make([]int, 40)
	for seed := range int64(400) {
		got := drawn(seed)
		slices.Sort(got)
		require.Len(t, slices.Compact(got), 10, "none twice")
		for _, n := range got {
			times[n-2]++
		}
	}
	for n, count := range times {
		require.InDelta(t, 100, count, 40, "conversation %d", n)
	}
}

func TestShareGPT_Chat(t *testing.T) {
	t.Parallel()
	path := file(t, "sharegpt.json", `[{"conversations": [{"from": "human", "value": "Why is the sky blue?"}, {"from": "gpt", "value": "Rayleigh scattering."}]}]`)
	task := shareGPT(2, 1, path)
	task.Traffic.Chat = true
	for _, r := range all(source(t, task, traffic.Options{})) {
		require.Equal(t, []traffic.Message{{Role: "user", Content: "Why is the sky blue?"}}, r.Messages)
		require.Equal(t, 5, r.MaxNewTokens)
	}
}

func TestShareGPT_Offline(t *testing.T) {
	t.Parallel()
	path := file(t, "sharegpt.json", "["+conversation(10, 3)+","+conversation(20, 9)+"]")
	task := shareGPT(2, 3, path)
	task.Engine.Mode = proto.ModeOffline
	for s := source(t, task, traffic.Options{}); ; {
		batch := s.NextBatch(2)
		if batch == nil {
			break
		}
		require.Equal(t, batch[0].MaxNewTokens, batch[1].MaxNewTokens)
		require.NotEqual(t, len(batch[0].InputIDs), len(batch[1].InputIDs))
	}
}

func TestShareGPT_Malformed(t *testing.T) {
	t.Parallel()
	good := conversation(10, 3)
	for name, tc := range map[string]struct {
		content string
		words   []string
	}{
		"empty":                {"", []string{"no JSON"}},
		"not JSON":             {`[` + good + `, oops]`, []string{"entry 1", "invalid character"}},
		"cut off in an entry":  {`[` + good + `, {"conversations": [{"va`, []string{"entry 1", "ends in the middle"}},
		"cut off after one":    {`[` + good, []string{"after entry 0", "ends in the middle"}},
		"a number":             {`5`, []string{"begins with '5'", "JSON array or JSON lines"}},
		"text after the array": {`[` + good + `] {}`, []string{"after entry 0", "{ follows the end of the array"}},
		"no row of texts":      {`[{"items": []}, null, {"conversations": 5}]`, []string{"no conversation", "of 3 rows, 3 have no list of turns"}},
		"lines cut off":        {good + "\n" + `{"conversations": [`, []string{"entry 1", "ends in the middle"}},
		"lines of no JSON":     {good + "\noops", []string{"entry 1", "invalid character"}},
		"NaN":                  {`[{"score": NaN}]`, []string{"entry 0", "invalid character 'N'"}},
		"none fits":            {`[` + conversation(100, 3) + `]`, []string{"no conversation", "1 a prompt of more than 64"}},
		"nothing in it":        {`[]`, []string{"no conversation", "of 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := file(t, "broken.json", tc.content)
			fails(t, shareGPT(2, 1, path), traffic.Options{}, append(tc.words, path)...)
		})
	}
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		fails(t, shareGPT(2, 1, "/nowhere/sharegpt.json"), traffic.Options{}, "/nowhere/sharegpt.json")
	})
}

// TestShareGPT_RowsWithoutConversation_AreCounted: such a row is left out, as those too short are, and the others are used.
func TestShareGPT_RowsWithoutConversation_AreCounted(t *testing.T) {
	t.Parallel()
	good := conversation(10, 3)
	for name, row := range map[string]string{
		"no conversations": `{"id": "b", "items": []}`, "null": `null`, "a text": `"hello"`, "a number": `5`, "a list": `[{"value": "x"}]`, "empty": `{}`,
		"conversations null": `{"conversations": null}`, "conversations a number": `{"conversations": 5}`, "conversations an object": `{"conversations": {"value": "x"}}`,
		"turn null": `{"conversations": [null, null]}`, "turn a text": `{"conversations": ["x", "y"]}`, "value missing": `{"conversations": [{"from": "human"}, {"value": "x"}]}`,
		"value a number": `{"conversations": [{"value": 123456789}, {"value": "x"}]}`, "value null": `{"conversations": [{"value": "x"}, {"value": null}]}`,
	} {
		for form, content := range map[string]string{"array": "[" + row + "," + good + "," + row + "]", "lines": good + "\r\n" + row + "\n" + row + "\n", "marked": "\xef\xbb\xbf[" + good + "," + row + "," + row + "]"} {
			s := source(t, shareGPT(1, 1, file(t, "sharegpt.json", content)), traffic.Options{})
			require.Contains(t, s.Notes()[0], ": 1 of 3 conversations fit, 1 drawn; left out are 2 rows without a conversation, 0 of", "%s, %s", name, form)
			require.Len(t, all(s)[0].InputIDs, 10)
		}
	}
	// Only the first two turns are used, whatever the others are.
	odd := strings.Replace(conversation(10, 3, 4), `"value": "wordwordwordword"}`, `"value": 7}, 5, null`, 1)
	require.Contains(t, source(t, shareGPT(1, 1, file(t, "sharegpt.json", "["+odd+"]")), traffic.Options{}).Notes()[0], "1 of 1 conversations fit")
}

func TestShareGPT_FromTheCache(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	repo := filepath.Join(cache, "datasets--anon8231489123--ShareGPT_Vicuna_unfiltered")
	fails(t, shareGPT(1, 1, ""), traffic.Options{HFCache: cache}, repo, "ShareGPT_V3_unfiltered_cleaned_split.json")
	put := func(revision string, prompt int) {
		dir := filepath.Join(repo, "snapshots", revision)
		require.NoError(t, os.MkdirAll(dir, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "ShareGPT_V3_unfiltered_cleaned_split.json"), []byte("["+conversation(prompt, 2)+"]"), 0o644))
	}
	prompt := func() int {
		r, ok := source(t, shareGPT(1, 1, ""), traffic.Options{HFCache: cache}).Next()
		require.True(t, ok)
		return len(r.InputIDs)
	}
	put("aaa", 11)
	put("bbb", 22)
	require.Equal(t, 22, prompt(), "without refs, the last by name")
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte("aaa\n"), 0o644))
	require.Equal(t, 11, prompt(), "the revision of main")
}

// Not parallel: the environment is the process's.
func TestCache_Environment(t *testing.T) {
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", "/home/someone")
	where := func(want string) {
		t.Helper()
		fails(t, shareGPT(1, 1, ""), traffic.Options{}, "at "+want+"/datasets--")
	}
	where("/home/someone/.cache/huggingface/hub")
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	where("/xdg/huggingface/hub")
	t.Setenv("HF_HOME", "/hf")
	where("/hf/hub")
	t.Setenv("HF_HUB_CACHE", "/cache")
	where("/cache")

	cache := t.TempDir()
	t.Setenv("HF_HUB_CACHE", cache)
	dir := filepath.Join(cache, "models--org--model", "snapshots", "abc")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"vocab_size": 1234}`), 0o644))
	require.Equal(t, 1234, traffic.VocabSize("org/model"))
	require.Zero(t, traffic.VocabSize("org/other"))
	require.Zero(t, traffic.VocabSize(""))
}

func TestVocabSize(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]int{
		`{"vocab_size": 128256}`: 128256,
		`{"model_type": "gemma3", "text_config": {"vocab_size": 262208}}`: 262208,
		`{"thinker_config": {"text_config": {"vocab_size": 152064}}}`:     152064,
		`{"vocab_size": "many"}`: 0,
		`{"vocab_size": 0}`:      0,
		`{`:                      0,
		`{"vision_config": {"vocab_size": 5}, "language_config": {"x": [1, 2]} }`: 0,
	} {
		require.Equal(t, want, traffic.VocabSize(filepath.Dir(file(t, "config.json", content))), content)
	}
}
