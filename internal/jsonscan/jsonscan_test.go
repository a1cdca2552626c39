package jsonscan_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tracefleet/tracefleet/internal/jsonscan"
)

func skip(text string) error {
	sc := jsonscan.New(text)
	sc.Skip()
	sc.End()
	return sc.Err()
}

func TestStr_LikeEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		`""`, `"a"`, `"1234567"`, `"12345678"`, `"123456789"`, `"é\u00e9\ud83d\ude00😀"`, `"\"\\\/\b\f\n\r\t"`, `"12345678\n12345678"`,
		`"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"` + strings.Repeat("\u007f", 20) + `"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		sc := jsonscan.New(text)
		if got := sc.Str(); got != want || sc.Err() != nil {
			t.Errorf("%s: got %q, %v, want %q", text, got, sc.Err(), want)
		}
	}
}

func TestSkip_PythonTokens(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"NaN", "Infinity", "-Infinity", `[NaN, {"a": -Infinity}]`} {
		if err := skip(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"-NaN", "nan", "Inf", "NaNx", "+1", "01", "1.", ".5", "1e", "--1", strings.Repeat("[", jsonscan.MaxDepth+1)} {
		if err := skip(text); err == nil {
			t.Errorf("%s was accepted", text)
		}
	}
}

// FuzzSkip: what is accepted is what encoding/json accepts, but for Python's three tokens and the depth.
func FuzzSkip(f *testing.F) {
	for _, text := range []string{`{"a": [1, -2.5e+10, true, null, "x\u0041"], "b": {}}`, `[[],[1,]]`, "\"12345678\x1f\"", `{"a" 1}`, "1 2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || strings.Contains(text, "NaN") || strings.Contains(text, "Infinity") || strings.Count(text, "[")+strings.Count(text, "{") > jsonscan.MaxDepth {
			return
		}
		if err := skip(text); (err == nil) != json.Valid([]byte(text)) {
			t.Errorf("%q: %v, encoding/json says valid: %v", text, err, json.Valid([]byte(text)))
		}
	})
}
