package traffic_test

import (
	"bytes"
	"compress/gzip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

func traced(batch, batches int, path string) *proto.Task {
	return task(proto.ModeAny, batch, batches, func(t *proto.Task) { t.Traffic.Dataset, t.Traffic.TracePath = "trace", path })
}

const recorded = `
{"timestamp": 3000, "input_length": 1100, "output_length": 40, "hash_ids": [7, 8, 9]}
{"timestamp": 1000, "input_length": 600, "output_length": 0, "hash_ids": [7, 11]}

{"timestamp": 1000.5, "input_length": 1024, "output_length": 5, "hash_ids": [7, 8], "type": "chat"}
{"timestamp": 9000, "input_length": 30, "output_length": 6}
`

func TestTrace(t *testing.T) {
	t.Parallel()
	path := file(t, "trace.jsonl", recorded)
	s := source(t, traced(2, 2, path), traffic.Options{Vocab: 1000})
	require.Equal(t, 4, s.Total())
	require.Equal(t, 1140, s.Longest())
	require.Empty(t, s.Notes())
	list := all(s)
	for i, want := range [][2]int{{600, 1}, {1024, 5}, {1100, 40}, {30, 6}} {
		require.Equal(t, want, [2]int{len(list[i].InputIDs), list[i].MaxNewTokens}, "in order of time, lengths as they were")
		require.Zero(t, list[i].At, "without a speed nothing waits")
		require.Zero(t, list[i].After)
	}
	require.Equal(t, 512, shared(list[0].InputIDs, list[1].InputIDs), "equal hash ids are equal tokens, and no others are")
	require.Equal(t, 1024, shared(list[1].InputIDs, list[2].InputIDs))
	require.LessOrEqual(t, shared(list[3].InputIDs, list[0].InputIDs), 1)
}

func TestTrace_Speed(t *testing.T) {
	t.Parallel()
	task := traced(2, 2, file(t, "trace.jsonl", recorded))
	task.Traffic.TraceSpeed = 2
	var at []time.Duration
	for _, r := range all(source(t, task, traffic.Options{})) {
		at = append(at, r.At)
	}
	require.Equal(t, []time.Duration{0, 250 * time.Microsecond, time.Second, 4 * time.Second}, at)
}

func TestTrace_HowMuchIsPlayed(t *testing.T) {
	t.Parallel()
	path := file(t, "trace.jsonl", recorded)
	require.Equal(t, 2, source(t, traced(2, 1, path), traffic.Options{}).Total(), "batch size × batches")
	task := traced(2, 1, path)
	task.Traffic.Requests = 3
	require.Equal(t, 3, source(t, task, traffic.Options{}).Total(), "as many as asked for")
	whole := source(t, traced(8, 4, path), traffic.Options{})
	require.Equal(t, 4, whole.Total(), "not more than there are")
	require.Contains(t, whole.Notes()[0], "has 4 requests; 32 were asked for")
	require.Len(t, all(whole), 4)

	// What is not played is not read.
	require.Equal(t, 2, source(t, traced(2, 1, file(t, "trace.jsonl", recorded+"oops\n")), traffic.Options{}).Total())
}

func TestTrace_MaxTokens(t *testing.T) {
	t.Parallel()
	s := source(t, traced(2, 2, file(t, "trace.jsonl", recorded)), traffic.Options{MaxTokens: 1000})
	require.Contains(t, s.Notes()[0], "2 of 4 requests are longer than 1000 tokens")
	require.Equal(t, 1000, s.Longest())
	list := all(s)
	require.Equal(t, 995, len(list[1].InputIDs))
	require.Equal(t, 960, len(list[2].InputIDs))
	require.Equal(t, 960, shared(list[1].InputIDs, list[2].InputIDs), "cut blocks are still shared")
}

func TestTrace_Modes(t *testing.T) {
	t.Parallel()
	path := file(t, "trace.jsonl", recorded)
	answers := func(mode proto.EngineMode, osl int) (list []int) {
		task := traced(2, 2, path)
		task.Engine.Mode, task.Traffic.OSL = mode, osl
		s := source(t, task, traffic.Options{})
		require.Zero(t, s.Shared(), "a trace shares what it shared")
		for _, r := range all(s) {
			require.Zero(t, r.After)
			list = append(list, r.MaxNewTokens)
		}
		return list
	}
	require.Equal(t, []int{1, 1, 40, 40}, answers(proto.ModeOffline, 16), "one length a batch")
	require.Equal(t, []int{1, 1, 1, 1}, answers(proto.ModeHTTPRagged, 16))
	require.Equal(t, []int{1, 1, 1, 1}, answers(proto.ModeHTTPPaged, 1), "planning asks for prefill alone")
}

func TestTrace_Chat(t *testing.T) {
	t.Parallel()
	task := traced(2, 2, file(t, "trace.jsonl", recorded))
	task.Traffic.Chat = true
	list := all(source(t, task, traffic.Options{}))
	a, b := strings.Fields(list[0].Messages[0].Content), strings.Fields(list[1].Messages[0].Content)
	require.Len(t, a, 600)
	require.Equal(t, a[:512], b[:512])
	require.NotEqual(t, a[512:], b[512:600])
}

func TestTrace_Malformed(t *testing.T) {
	t.Parallel()
	const good = `{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1]}` + "\n"
	for name, tc := range map[string]struct {
		line  string
		words []string
	}{
		"not JSON":           {`oops`, []string{"not a JSON object", "oops"}},
		"an array":           {`[1]`, []string{"not a JSON object"}},
		"null":               {`null`, []string{"not a JSON object"}},
		"no timestamp":       {`{"input_length": 1, "output_length": 1}`, []string{"timestamp is missing"}},
		"timestamp a text":   {`{"timestamp": "0", "input_length": 1, "output_length": 1}`, []string{"timestamp", `\"0\"`, "number"}},
		"timestamp too late": {`{"timestamp": 1e300, "input_length": 1, "output_length": 1}`, []string{"timestamp", "1e300"}},
		"negative timestamp": {`{"timestamp": -1, "input_length": 1, "output_length": 1}`, []string{"timestamp", "-1"}},
		"no input":           {`{"timestamp": 0, "output_length": 1}`, []string{"input_length is missing"}},
		"empty prompt":       {`{"timestamp": 0, "input_length": 0, "output_length": 1}`, []string{"input_length", `"0"`, "from 1"}},
		"half a token":       {`{"timestamp": 0, "input_length": 1.5, "output_length": 1}`, []string{"input_length", "1.5", "whole"}},
		"endless prompt":     {`{"timestamp": 0, "input_length": 99999999999, "output_length": 1}`, []string{"input_length", "99999999999"}},
		"negative output":    {`{"timestamp": 0, "input_length": 1, "output_length": -2}`, []string{"output_length", "-2"}},
		"hash ids a text":    {`{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": "7"}`, []string{"hash_ids", "array"}},
		"hash id null":       {`{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [null]}`, []string{"hash_ids[0]", "null", "number or a text"}},
		"hash id a list":     {`{"timestamp": 0, "input_length": 1025, "output_length": 1, "hash_ids": [1, [2]]}`, []string{"hash_ids[1]", "[2]", "number or a text"}},
		"hash id NaN":        {`{"timestamp": 0, "input_length": 1, "output_length": 1, "hash_ids": [NaN]}`, []string{"not a JSON object"}},
		"text after it":      {`{"timestamp": 0, "input_length": 1, "output_length": 1} {}`, []string{"not a JSON object"}},
		"too many hash ids":  {`{"timestamp": 0, "input_length": 512, "output_length": 1, "hash_ids": [1, 2]}`, []string{"hash_ids", "2 blocks", "input_length 512", "at most 1 of 512 tokens", "--trace-block-size 256"}},
		"blocks of 16":       {`{"timestamp": 0, "input_length": 60, "output_length": 1, "hash_ids": [1, 2, 3, 4]}`, []string{"4 blocks", "input_length 60", "--trace-block-size 16"}},
		"odd blocks":         {`{"timestamp": 0, "input_length": 201, "output_length": 1, "hash_ids": [1, 2, 3]}`, []string{"3 blocks", "--trace-block-size 67"}},
		"more than tokens":   {`{"timestamp": 0, "input_length": 2, "output_length": 1, "hash_ids": [1, 2, 3]}`, []string{"3 blocks", "input_length 2", "at most 1"}},
		"endless line":       {`{"timestamp": 0, "x": "` + strings.Repeat("x", 65<<20) + `"}`, []string{"longer than"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := file(t, "trace.jsonl", good+"\n"+tc.line+"\n"+good)
			fails(t, traced(8, 1, path), traffic.Options{}, append(tc.words, path, "line 3")...)
		})
	}
	t.Run("empty", func(t *testing.T) {
		t.Parallel()
		fails(t, traced(8, 1, file(t, "trace.jsonl", "\n\n")), traffic.Options{}, "holds no request")
	})
	t.Run("no path", func(t *testing.T) {
		t.Parallel()
		fails(t, traced(8, 1, ""), traffic.Options{}, "trace_path")
	})
	t.Run("no file", func(t *testing.T) {
		t.Parallel()
		fails(t, traced(8, 1, "/nowhere/trace.jsonl"), traffic.Options{}, "/nowhere/trace.jsonl")
	})
}

// TestTrace_HashIDs_AreNames: any number or text names a block, whatever its size or sign, and equal names are equal tokens.
func TestTrace_HashIDs_AreNames(t *testing.T) {
	t.Parallel()
	for _, ids := range [][3]string{ // two that differ, and the first again
		{"17446744073709551615", "17446744073709551614", "17446744073709551615"},
		{"-9223372036854775808", "9223372036854775808", "-9223372036854775808"},
		{"123456789012345678901234567890", "123456789012345678901234567891", "123456789012345678901234567890"},
		{`"a"`, `"b"`, `"\u0061"`}, {`"7"`, "7", `"7"`}, {"7", "7.0", "7"}, {"1e3", "1000", "1e3"},
	} {
		line := func(id string) string {
			return `{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [ ` + id + ` , 1]}` + "\r\n"
		}
		list := all(source(t, traced(3, 1, file(t, "trace.jsonl", line(ids[0])+line(ids[1])+line(ids[2]))), traffic.Options{}))
		require.Less(t, shared(list[0].InputIDs, list[1].InputIDs), 5, "%v", ids)
		require.Equal(t, list[0].InputIDs, list[2].InputIDs, "%v", ids)
	}
}

// TestTrace_BlockSizeFlag_SetsTheBlocks: a block is as long as the producer's.
func TestTrace_BlockSizeFlag_SetsTheBlocks(t *testing.T) {
	t.Parallel()
	task := traced(2, 1, file(t, "trace.jsonl", `{"timestamp": 0, "input_length": 60, "output_length": 9, "hash_ids": [0, 1, 2, 3]}
{"timestamp": 1.25, "input_length": 75, "output_length": 12, "hash_ids": [0, 1, 2, 5, 6]}`))
	task.Traffic.TraceBlock = 16
	s := source(t, task, traffic.Options{})
	require.Empty(t, s.Notes())
	list := all(s)
	require.Len(t, list[0].InputIDs, 60)
	require.Len(t, list[1].InputIDs, 75)
	require.Equal(t, 48, shared(list[0].InputIDs, list[1].InputIDs))
	task.Traffic.TraceBlock = 1 << 30
	fails(t, task, traffic.Options{}, "trace_block_size", "1073741824")
}

// TestTrace_BlocksTooSmall_AreNoted: a file of larger blocks can be read as smaller ones, and would then share too little.
func TestTrace_BlocksTooSmall_AreNoted(t *testing.T) {
	t.Parallel()
	large := `{"timestamp": 0, "input_length": 2048, "output_length": 9, "hash_ids": [0, 1]}
{"timestamp": 1, "input_length": 3000, "output_length": 9, "hash_ids": [0, 1, 5]}
`
	for content, want := range map[string]string{
		large: "in blocks of 512 tokens, and all of it in blocks of 1024: is --trace-block-size 1024 meant?",
		large + `{"timestamp": 2, "input_length": 1100, "output_length": 9, "hash_ids": [0, 1, 2]}`:           "", // covered
		large + `{"timestamp": 2, "input_length": 9000, "output_length": 9, "hash_ids": [0, 1]}`:              "", // no size fits all
		large + `{"timestamp": 2, "input_length": 9000, "output_length": 9}`:                                  "in blocks of 1024",
		`{"timestamp": 2, "input_length": 9000, "output_length": 9, "hash_ids": [7]}`:                         "", // one prompt tells little
		strings.Repeat(`{"timestamp": 2, "input_length": 1000, "output_length": 9, "hash_ids": [7]}`+"\n", 3): "", // whole blocks alone have ids
	} {
		notes := strings.Join(source(t, traced(3, 1, file(t, "trace.jsonl", content)), traffic.Options{}).Notes(), "\n")
		if want == "" {
			require.NotContains(t, notes, "block", content)
		} else {
			require.Contains(t, notes, want, content)
		}
	}
}

// TestTrace_Encodings: gzip, a byte order mark and CRLF are read; what is no file is refused without waiting.
func TestTrace_Encodings(t *testing.T) {
	t.Parallel()
	want := all(source(t, traced(2, 2, file(t, "trace.jsonl", recorded)), traffic.Options{}))
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, err := z.Write([]byte(recorded))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	for name, content := range map[string]string{
		"gzip": zipped.String(), "byte order mark": "\xef\xbb\xbf" + strings.TrimSpace(recorded), "CRLF": strings.ReplaceAll(recorded, "\n", "\r\n"),
	} {
		require.Equal(t, want, all(source(t, traced(2, 2, file(t, "trace", content)), traffic.Options{})), name)
	}
	fails(t, traced(2, 2, file(t, "trace.jsonl.gz", zipped.String()[:zipped.Len()/2])), traffic.Options{}, "trace.jsonl.gz", "unexpected EOF")
	dir := t.TempDir()
	fails(t, traced(2, 2, dir), traffic.Options{}, dir, "not a regular file")
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	fails(t, traced(2, 2, pipe), traffic.Options{}, pipe, "not a regular file")
}
