package fitrace_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// environment is an Env of fixed answers.
type environment struct{}

func (environment) Number(name string) (fitrace.Number, bool) {
	switch name {
	case "n":
		return fitrace.IntNumber(7), true
	case "m":
		return fitrace.IntNumber(-7), true
	case "half":
		return fitrace.FloatNumber(0.5), true
	}
	return fitrace.Number{}, false
}

func (environment) Shape(tensor string) ([]int64, bool) {
	if tensor == "indptr" {
		return []int64{4}, true
	}
	return []int64{2, 3, 5}, tensor == "x"
}

func (environment) DType(tensor string) (string, bool) {
	return "bfloat16", tensor == "x"
}

func (environment) Ints(tensor string) ([]int64, error) {
	if tensor != "indptr" {
		return nil, fmt.Errorf("the values of %s are not known", tensor)
	}
	return []int64{0, 4, 9, 7}, nil
}

func TestExpr(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]bool{
		"n == 7": true, "n != 7": false, "n >= 7 and n <= 7": true, "n < 7 or n > 7": false, "not n == 7": false, "not not n": true,
		"n == 6 + 1": true, "n - 1 == 2 * 3": true, "n * 2 + 1 == 15": true, "(n + 1) * 2 == 16": true, "2 + n * 2 == 16": true,
		"n // 2 == 3": true, "m // 2 == -4": true, "n // -2 == -4": true, "m % 4 == 1": true, "n % -4 == -1": true, "n % 7 == 0": true,
		"n / 2 == 3.5": true, "half * 2 == 1": true, "2 ** 3 == 8": true, "-2 ** 2 == -4": true, "2 ** -1 == half": true,
		"0 < n < 8": true, "0 < n < 7": false, "1 == 1.0": true, "True": true, "False or n": true,
		"indptr[-1].item() == n": true, "indptr[2] == 9": true, "indptr[n - 5] == 9": true, "indptr.max().item() == 9": true, "indptr.min() == 0": true,
		"indptr.sum().item() == 20": true, "len(indptr) == 4": true, "x.shape[0] == 2": true, "x.shape[-1] == 5": true, "x.size(1) == 3": true,
		"x.numel() == 30": true, "x.ndim == 3": true, "max(n, 9, 3) == 9": true, "min(n, m) == m": true, "abs(m) == n": true, "int(n) == 7": true,
		"1_000 == 1e3": true, "n == 7 if": false,
		"n in (5, 7)": true, "n in [5, 6]": false, "n in (7,)": true, "n not in (5, 6)": true, "n not in [7]": false, "not n in (5, 6)": true, "n in ()": false,
		"n // 2 in (m, 3)": true, "n in (7.0, 'a')": true, "n in (1, 2) or n % 7 == 0": true, "n in (7, missing - missing)": false, "7 in indptr": true,
		"0 < n in (7, 8)": true, "8 < n in (7, 8)": false, "x.dtype in ('float16', \"bfloat16\")": true, "(n) == 7": true,
		"x is None": false, "x is not None": true, "n is None or n == 7": true, "half is not None and n == 7": true, "not x is None": true,
		"x.dtype == 'bfloat16'": true, "x.dtype != 'bfloat16'": false, "'a' == 'a'": true, "n == 7 or missing == 'HND'": true,
		"max(indptr) == 9": true, "min(indptr) == 0": true, "max([n, 9]) == 9": true, "max(indptr[1:] - indptr[:-1]) == 5": true, "min(indptr[1:3]) == 4": true,
		"max(indptr[1:] * 2) == 18": true, "max(indptr[-2:]) == 9": true, "max(indptr[:]) == max(indptr)": true, "max(indptr[:99]) == 9": true,
		"n == 0 or missing": false, "n or missing": true, "n == 0 and missing": false,
	} {
		e, err := fitrace.ParseExpr(source)
		if source == "n == 7 if" {
			if !errors.Is(err, fitrace.ErrNotUnderstood) {
				t.Errorf("%s: %v", source, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		got, err := e.Holds(environment{})
		if source == "n == 0 or missing" || strings.Contains(source, "missing - missing") {
			if !errors.Is(err, fitrace.ErrNotUnderstood) {
				t.Errorf("%s: %v, %v", source, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s is %v, %v", source, got, err)
		}
	}
}

// TestExpr_NotUnderstood: what cannot be evaluated is an error, at parsing or at evaluation, and never true.
func TestExpr_NotUnderstood(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		"", "n ==", "== n", "(n", "n)", "n = 7", "n & 1", "[n]", "lambda: 1",
		"n in", "n in 7", "n in 'a'", "n not 7", "n not in", "n is 7", "n is", "n is not", "n + 1 is None", "missing is None", "n is None is None", "None", "None == n", "n == None",
		"n in (1, 2", "n in (,)", "(1, 2)", "(1, 2) == (1, 2)", "(n, 7) in (1, 2)", "'a'", "not 'a'", "'a' < 'b'", "n == 'a'", "'a' + 'b' == 'ab'", "'a", "'a\\' == n", "missing == 'HND'",
		"y.dtype == 'bfloat16'", "x.dtype", "indptr == 7", "indptr", "-indptr == 1", "max(indptr, 1) == 9", "max(n) == n", "min('a') == n", "max([]) == 0", "max(indptr[3:3]) == 0",
		"max(indptr[1:] - indptr) == 1", "max(indptr[::2]) == 9", "max(indptr[1:half]) == 9", "indptr[1:] == 4", "max(x) == 1", "max(x[1:]) == 1", "max(('a', 1) * 2) == 2", "max(indptr // 0) == 1", "n if n else 1", "all(x > 0)",
		"x.mean() > 0", "x.shape", "x.shape[9] == 1", "x[0] == 1", "missing == 1", "n % 0 == 1", "n // 0 == 1", "n / 0 == 1", "indptr[4] == 1",
		"indptr[-5] == 1", "abs(n, n) == n", "2 ** 100 == 1", "0 ** -1 == 1", "len(3) == 1", "1.2.3 == 1", "indptr[0].max() == 0",
		"n == 1 2", "y.ndim == 1", "_ == 1", "indptr[half] == 0", strings.Repeat("(", 1000) + "n", strings.Repeat("not ", 1000) + "n", strings.Repeat("-", 1000) + "n",
	} {
		e, err := fitrace.ParseExpr(source)
		if err == nil {
			_, err = e.Holds(environment{})
		}
		if !errors.Is(err, fitrace.ErrNotUnderstood) {
			t.Errorf("%.40s: error is %v", source, err)
		}
	}
}

func FuzzExpr(f *testing.F) {
	for _, s := range []string{"num_kv_indices == kv_indptr[-1].item()", "a % b == 0", "max(n, 2) ** n", "x.shape[0] <= 3 * n // 2", "((((n", "n in (1, 2)", "x is not None", "q.dtype == 'a'", "max(t[1:] - t[:-1]) <= n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		e, err := fitrace.ParseExpr(source)
		if err == nil {
			_, err = e.Holds(environment{})
		}
		if err != nil && !errors.Is(err, fitrace.ErrNotUnderstood) {
			t.Errorf("%q: %v", source, err)
		}
	})
}

// TestParseExpr_FlashInferTemplates_AreRead: every constraint that FlashInfer's templates state, and those of the given dataset.
func TestParseExpr_FlashInferTemplates_AreRead(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/constraints.txt")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "#") {
			continue
		}
		read++
		if _, err := fitrace.ParseExpr(line); err != nil {
			t.Error(err)
		}
	}
	if read < 200 {
		t.Errorf("%d constraints were read", read)
	}
}
