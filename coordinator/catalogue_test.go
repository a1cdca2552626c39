package coordinator

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/sglang"
	"github.com/tracefleet/tracefleet/proto"
)

func writeModels(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "models.json")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// Every built-in model says all that a launch needs, on every GPU type.
func TestCatalogue_Builtin(t *testing.T) {
	t.Parallel()
	c, err := LoadCatalogue(writeModels(t, `{"models": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	keys := c.Keys()
	// The keys of the scripts that this replaces; people have them in their command lines.
	for _, key := range strings.Fields(`llama-3.1-8b llama-3.1-70b llama-4-scout llama-4-scout-ps64 llama-4-scout-tp4 llama-4-scout-moe deepseek-v3
		deepseek-v3.2 qwen3-30b qwen3-235b-a22b qwen3-235b-a22b-ps64 qwen3-235b-a22b-ragged qwen3-235b-a22b-decode-ps64 minimax-m2
		minimax-m2-ps64 minimax-m2-ragged minimax-m2-triton minimax-m2-triton-ps64 minimax-m2-triton-ragged gemma-3-27b qwen3-next-80b-ragged`) {
		if !slices.Contains(keys, key) {
			t.Errorf("no %s", key)
		}
	}
	for _, key := range keys {
		for _, gpu := range append(c.GPUTypes(), "") {
			m, err := c.Model(key, gpu)
			if err != nil || strings.Count(m.Path, "/") != 1 || !strings.Contains(m.Architecture, "For") || m.TP < 1 || m.EP > m.TP {
				t.Errorf("%s on %q: %+v, %v", key, gpu, m, err)
			}
		}
	}
	if m, err := c.Model("llama-4-scout-ps64", "b200"); err != nil || m.PageSize != 64 || m.TP != 8 || !slices.Contains(m.Flags, "--mem-fraction-static 0.75") {
		t.Errorf("llama-4-scout-ps64 on b200: %+v, %v", m, err)
	}
}

// The newest release takes every built-in flag as it is written, from a server and from an Engine.
func TestCatalogue_BuiltinFlags(t *testing.T) {
	t.Parallel()
	c, err := LoadCatalogue(writeModels(t, `{"models": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	known := sglang.Known()
	for _, key := range c.Keys() {
		for _, gpu := range append(c.GPUTypes(), "") {
			m, err := c.Model(key, gpu)
			if err != nil {
				t.Fatal(err)
			}
			for _, mode := range []sglang.Mode{sglang.HTTPRagged, sglang.Offline} {
				in := sglang.Intent{Mode: mode, ModelPath: m.Path, TP: m.TP, EP: m.EP, PageSize: m.PageSize, ModelFlags: m.Flags}
				l, err := in.Launch(known[len(known)-1])
				if err != nil || len(l.Notices) > 0 {
					t.Errorf("%s on %q, %s: %v, %v", key, gpu, mode, l, err)
				}
			}
		}
	}
}

func TestCatalogue_Own(t *testing.T) {
	t.Parallel()
	file := writeModels(t, `{"models": {
		"mine": {"model_path": "./weights", "architecture": "LlamaForCausalLM", "gpus": {"default": {"tp": 2, "flags": ["--trust-remote-code"]}, "h200": {"tp": 1}, "b200": {"flags": []}}},
		"mine-ps16": {"like": "mine", "gpus": {"default": {"page_size": 16}}},
		"llama-3.1-70b": {"like": "llama-3.1-70b", "model_path": "/weights/llama"},
		"qwen3-8b": {"model_path": "/weights/qwen"}
	}}`)
	c, err := LoadCatalogue(file)
	if err != nil {
		t.Fatal(err)
	}
	weights := filepath.Join(filepath.Dir(file), "weights")
	trust := []string{"--trust-remote-code"}
	for _, tc := range []struct {
		name, key, gpu string
		want           Model
	}{
		{"the default", "mine", "", Model{Path: weights, Architecture: "LlamaForCausalLM", TP: 2, Flags: trust}},
		{"a type says what differs", "mine", "h200", Model{Path: weights, Architecture: "LlamaForCausalLM", TP: 1, Flags: trust}},
		{"an empty list takes flags away", "mine", "b200", Model{Path: weights, Architecture: "LlamaForCausalLM", TP: 2, Flags: []string{}}},
		{"a type without an entry", "mine", "l40s", Model{Path: weights, Architecture: "LlamaForCausalLM", TP: 2, Flags: trust}},
		{"like another, field by field", "mine-ps16", "h200", Model{Path: weights, Architecture: "LlamaForCausalLM", TP: 1, PageSize: 16, Flags: trust}},
		{"like the built-in of the same key", "llama-3.1-70b", "", Model{Path: "/weights/llama", Architecture: "LlamaForCausalLM", TP: 4}},
		{"in the place of the built-in", "qwen3-8b", "", Model{Path: "/weights/qwen"}},
		{"which changes no built-in one that is like that", "qwen3-14b", "", Model{Path: "Qwen/Qwen3-14B", Architecture: "Qwen3ForCausalLM", TP: 1}},
	} {
		if got, err := c.Model(tc.key, tc.gpu); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: got %+v, %v; want %+v", tc.name, got, err, tc.want)
		}
	}
	_, err = c.Model("lama-3.1-8b", "")
	if err == nil || !strings.Contains(err.Error(), `"lama-3.1-8b"`) || !strings.Contains(err.Error(), "did you mean llama-3.1-8b") || !strings.Contains(err.Error(), file) {
		t.Errorf("an unknown key: %v", err)
	}
	if _, err = c.Model("x", ""); err == nil || !strings.Contains(err.Error(), "mine-ps16") {
		t.Errorf("a key like no other: %v", err)
	}
}

func TestCatalogue_Bad(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, says string }{
		{"{\"models\": {\n \"a\": }}", "line 2"},
		{`{"models": {}} {}`, "after the closing brace"},
		{`{"model": {}}`, `unknown field "model"`},
		{`{}`, "models is missing"},
		{`{"models": {"a": {"path": "/x"}}}`, `models.a: unknown field "path"`},
		{`{"models": {"a": 3}}`, "models.a"},
		{`{"models": {"a": {"gpus": {"h200": {"tp": "8"}}}}}`, "models.a: gpus.tp is a string, must be a whole number"},
		{`{"models": {"a": {"gpus": {"h200": {"tp": -1}}}}}`, "models.a.gpus.h200.tp: is -1"},
		{`{"models": {"a": {"gpus": {"H200": {}}}}}`, "models.a.gpus.H200: a GPU type is written in lower case"},
		{`{"models": {"a": {"gpus": {"h200": {"flags": ["trust"]}}}}}`, `models.a.gpus.h200.flags[0]: is "trust"`},
		{`{"models": {"a": {"gpus": {"h200": {"flags": ["--x", "--tp-size 8"]}}}}}`, "flags[1]: is \"--tp-size 8\"; use the field tp"},
		{`{"models": {"a": {"gpus": {"h200": {"flags": ["--page-size=8"]}}}}}`, "the field page_size"},
		{`{"models": {"a": {"config": {"num_attention_heads": "8"}}}}`, `models.a.config: num_attention_heads is "8"`},
		{`{"models": {"a": {"config": {"source": 3}}}}`, "models.a.config.source: is 3, must be a string"},
		{`{"models": {"a": {"like": "b"}}}`, `models.a.like is "b", and there is no such key`},
		{`{"models": {"a": {"like": "a"}}}`, `models.a.like is "a"`},
		{`{"models": {"a": {"like": "b"}, "b": {"like": "a"}}}`, "leads back to itself"},
	} {
		file := writeModels(t, tc.text)
		_, err := LoadCatalogue(file)
		if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), file) || proto.AsFailure(err, "").Code != proto.CodeBadCollection {
			t.Errorf("%s: got %v, want %q and the file's name", tc.text, err, tc.says)
		}
	}
	if _, err := LoadCatalogue(filepath.Join(t.TempDir(), "none.json")); err == nil || !strings.Contains(err.Error(), "none.json") {
		t.Errorf("a file that was named and is not there: %v", err)
	}
}
