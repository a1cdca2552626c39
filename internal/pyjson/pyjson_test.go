package pyjson

import (
	"math"
	"testing"
)

// The wanted texts are what CPython 3.11's json.dumps prints.
func TestAppendFloat(t *testing.T) {
	t.Parallel()
	for f, want := range map[float64]string{
		1: "1.0", -2.5: "-2.5", 1e16: "1e+16", 1e15: "1000000000000000.0", 1e-5: "1e-05", 1e-4: "0.0001",
		0.08838834764831843: "0.08838834764831843", 123456789012345680: "1.2345678901234568e+17", 5e-324: "5e-324",
		math.Inf(1): "Infinity", math.Inf(-1): "-Infinity",
	} {
		if got := string(AppendFloat(nil, f)); got != want {
			t.Errorf("AppendFloat(%v) = %s, want %s", f, got, want)
		}
	}
	if got := string(AppendFloat(nil, math.NaN())); got != "NaN" {
		t.Errorf("NaN is written %s", got)
	}
	for _, zero := range []struct {
		f    float64
		want string
	}{{0, "0.0"}, {math.Copysign(0, -1), "-0.0"}} {
		if got := string(AppendFloat(nil, zero.f)); got != zero.want {
			t.Errorf("zero is written %s, want %s", got, zero.want)
		}
	}
}

func TestAppendString(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"": `""`, `a"b\c`: `"a\"b\\c"`, "\n\r\t\b\f": `"\n\r\t\b\f"`, "\x00\x1f\x7f": `"\u0000\u001f\u007f"`,
		"é": `"\u00e9"`, "😀": `"\ud83d\ude00"`, "~ ": `"~ "`,
	} {
		if got := string(AppendString(nil, s)); got != want {
			t.Errorf("AppendString(%q) = %s, want %s", s, got, want)
		}
	}
}
