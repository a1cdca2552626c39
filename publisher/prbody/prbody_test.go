package prbody

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/proto"
)

var update = flag.Bool("update", false, "write the goldens")

func sample() *Page {
	p := &Page{
		Collection: "c-0123456789ab", Definition: "gqa_paged_decode_h32_kv8_d128_ps1", OpType: "gqa_paged",
		APIs: []string{"fi_api:flashinfer.decode.BatchDecodeWithPagedKVCacheWrapper"}, DefinitionPR: "https://github.com/flashinfer-ai/flashinfer-bench/pull/1",
		Solution: "flashinfer_wrapper_decode", Engine: "sglang", Mode: "offline", Model: "meta-llama/Llama-3.1-8B", GPU: "NVIDIA H200",
		Versions: map[string]string{"sglang": "0.5.16", "flashinfer": "0.6.14", "torch": "2.11.0"}, Flags: []string{"--mem-fraction-static", "0.8"},
		Traffic: "random, 1024 tokens in, 1024 out, seed 0", LogPath: "logs/x.log",
		Batches: []Batch{
			{Size: 8, Calls: 70, Tally: proto.Tally{Workload: 1, Duplicate: 35, NotSelected: 34}},
			{Size: 32, Calls: 69, Tally: proto.Tally{Workload: 1, Duplicate: 34, NotSelected: 32, Rejected: map[string]int{"no_plan": 2}}},
		},
		Shapes: []Shape{
			{UUID: "6ba7b811-9dad-51d1-80b4-00c04fd430c8", Axes: "batch_size=8 num_pages=4096", Batch: 8, KV: []int64{300, 400, 512, 700, 801, 900, 1000, 1024}, Calls: 12},
			{UUID: "7ba7b811-9dad-51d1-80b4-00c04fd430c8", Axes: "batch_size=32 num_pages=9000", Batch: 32, KV: repeat(700, 32), Calls: 40},
		},
		Log: []string{"t000 gpuworker: attempt 1 begins", "t000 coordinator: task t000 is done"},
	}
	return p
}

// replayed turns p into the page of replayed dumps.
func replayed(p *Page, r Recorded) {
	p.Engine, p.Mode, p.Model, p.GPU, p.Traffic, p.Flags, p.Recorded = "replay", "", "", "", "", nil, &r
	p.Versions = map[string]string{"flashinfer": "0.6.14", "torch": "2.11.0"}
	p.Batches = []Batch{{Calls: 139, Tally: proto.Tally{Workload: 2, Duplicate: 69, NotSelected: 66, Rejected: map[string]int{"no_plan": 2}}}}
}

func repeat(n int64, times int) (list []int64) {
	for range times {
		list = append(list, n)
	}
	return list
}

func TestDescription_Golden(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Page){
		"pending": func(*Page) {}, "simulated": func(p *Page) {
			p.Simulated, p.Engine, p.Mode, p.GPU, p.Model, p.Flags = true, "simulate", "", "", "", nil
		},
		"recorded": func(p *Page) { replayed(p, Recorded{}) },
		"stated": func(p *Page) {
			replayed(p, Recorded{
				Engine: []Fact{{Text: "sglang"}, {Text: "vllm", Stated: true}, {}}, Release: []Fact{{Text: "0.5.16"}, {}}, Model: []Fact{{Text: "org/a|b", Stated: true}}, GPU: []Fact{{Text: "NVIDIA H200", Stated: true}},
			})
		},
		"warned":  func(p *Page) { p.Warnings = []string{"warn   one_batch_size: all 4 workloads have a batch size of 4"} },
		"skipped": func(p *Page) { p.Evaluation = &proto.Evaluation{Skipped: true, Of: 2} },
		"passed":  func(p *Page) { p.Evaluation = &proto.Evaluation{Attempt: 1, Passed: 2, Of: 2} },
		"refused": func(p *Page) {
			p.Evaluation = &proto.Evaluation{Attempt: 1, Passed: 1, Of: 2, Refused: []proto.RefusedEvaluation{{Workload: p.Shapes[1].UUID, Status: "RUNTIME_ERROR", Log: "CUDA | error\n`x`"}}}
		},
	} {
		p := sample()
		change(p)
		text, cut, err := Section(p, mostText)
		if err != nil || cut {
			t.Fatalf("%s: %v, cut %t", name, err, cut)
		}
		text = "# " + Title(p) + "\n\n" + text
		path := filepath.Join("testdata", name+".md")
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if text != string(want) {
			t.Errorf("%s differs from its golden:\n%s", name, text)
		}
	}
}

// A log that does not fit loses its middle, and says so.
func TestDescription_LongLog(t *testing.T) {
	t.Parallel()
	p := sample()
	for i := range 20000 {
		p.Log = append(p.Log, fmt.Sprintf("line %d %s", i, strings.Repeat("ü", i%50)))
	}
	text, cut, err := Section(p, mostText)
	if err != nil || !cut || size(text) > mostText || size(text) < mostText*9/10 {
		t.Fatalf("%v, cut %t, %d characters", err, cut, size(text))
	}
	for _, want := range []string{p.Log[0], "line 0 ", "lines are left out; the whole log is logs/x.log", p.Log[len(p.Log)-1]} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the text", want)
		}
	}
	if collections, definition := Marks(text); !slices.Equal(collections, []string{p.Collection}) || definition != p.Definition {
		t.Errorf("the text is of %v, %s", collections, definition)
	}
}

// What the repository has already is counted where it is left out.
func TestDescription_LeftOut(t *testing.T) {
	t.Parallel()
	p := sample()
	p.Shapes, p.Skipped, p.Untold, p.Unproven, p.Evaluation = p.Shapes[:1], 1, 3, 5, &proto.Evaluation{Attempt: 1, Passed: 1, Of: 1, Unseen: 1}
	text, _, err := Section(p, mostText)
	if err != nil || !strings.Contains(text, "3 more lines of this definition are in this pull request") ||
		!strings.Contains(text, "5 workloads of other runs in this draft") || !strings.Contains(text, "**Not looked at** on 1 of 1") || !strings.Contains(text, "1 workload of ") || !strings.Contains(text, "; 1 more are left out, since the repository has as much already.") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestDescription_DoesNotAddUp(t *testing.T) {
	t.Parallel()
	for says, change := range map[string]func(*Page){
		"batch size 8 has 71 calls, but 70":               func(p *Page) { p.Batches[0].Calls++ },
		"2 calls became workloads, but there are 1 lines": func(p *Page) { p.Shapes = p.Shapes[:1] },
		"2 calls became workloads, but there are 0 lines": func(p *Page) { p.Shapes, p.Skipped = nil, 1 },
	} {
		p := sample()
		change(p)
		if _, _, err := Section(p, mostText); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}

// Whatever the text of others is, ours keeps its shape: marker first, fences closed, no longer than the Hub takes.
func FuzzDescription(f *testing.F) {
	f.Add("a/b", "line\n```\n# heading @user #1", 3)
	f.Add("`|`", "\x1b[31mred\x1b[0m \u202e <script>", 4000)
	f.Add("m", Marker("c-1", "d"), 2)
	f.Add("\xff", strings.Repeat("`", 500), 100)
	f.Fuzz(func(t *testing.T, model, line string, times int) {
		p := sample()
		p.Model, p.Flags, p.Log = model, []string{line}, nil
		for range min(max(times, 0), 4000) {
			p.Log = append(p.Log, line)
		}
		text, _, err := Section(p, mostText)
		if err != nil {
			if size(line)+size(model) > mostText/4 {
				return // it says so
			}
			t.Fatal(err)
		}
		if collections, _ := Marks(text); len(collections) != 1 || size(text) > mostText || len(Title(p)) < 3 || size(Title(p)) > mostTitle {
			t.Fatalf("%d characters, title %q", size(text), Title(p))
		}
		fence := ""
		for l := range strings.Lines(text) {
			l = strings.TrimSuffix(l, "\n")
			switch {
			case fence == "" && strings.HasPrefix(l, "```"):
				fence = l[:longestRun(l, '`')]
			case fence != "" && l == fence:
				fence = ""
			case fence == "" && strings.HasPrefix(l, "|") && strings.Count(strings.ReplaceAll(l, "\\|", ""), "|") > 7:
				t.Fatalf("a cell too many: %q", l)
			}
		}
		if fence != "" {
			t.Fatal("a code block does not end")
		}
	})
}
