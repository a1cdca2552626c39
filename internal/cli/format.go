package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Bytes gives n in the unit people read, in powers of 1000 as disks and GPUs are sold: "13.0 GB".
func Bytes(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n), -1
	for value >= unit && prefix < 5 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGTPE"[prefix])
}

// Seconds gives a duration of s seconds, rounded to what matters: "0.35s", "12.3s", "4m07s".
func Seconds(s float64) string {
	switch {
	case s < 1:
		return fmt.Sprintf("%.2fs", s)
	case s < 60:
		return fmt.Sprintf("%.1fs", s)
	}
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

// ParseBytes reads a size: digits with an optional unit B, kB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (of 1024).
// Nothing is 0.
func ParseBytes(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	number, unit := s, "b"
	if i >= 0 {
		number, unit = s[:i], strings.ToLower(strings.TrimSpace(s[i:]))
	}
	value, err := strconv.ParseFloat(number, 64)
	scale, known := byteUnits[strings.TrimSuffix(unit, "b")]
	if err != nil || !known || value*scale >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size such as 500MB, 30GB or 16GiB", s)
	}
	return int64(value * scale), nil
}

var byteUnits = map[string]float64{
	"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40,
}
