package prbody

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// picture draws batch size against KV length, both in powers of two: how many requests of the workloads are in each field. Empty where no
// workload tells both.
func (p *Page) picture() string {
	fields := map[[2]int]int{} // exponents of batch size and length
	var batches, kvs []int
	for _, s := range p.Shapes {
		if s.Batch <= 0 {
			continue
		}
		for _, n := range s.KV {
			f := [2]int{exponent(s.Batch), exponent(n)}
			fields[f]++
			batches, kvs = append(batches, f[0]), append(kvs, f[1])
		}
	}
	if len(fields) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("requests, in powers of two: · 1…3  ░ 4…15  ▒ 16…63  ▓ 64…255  █ more\n\n  KV ≤\n")
	for kv := slices.Max(kvs); kv >= slices.Min(kvs); kv-- {
		fmt.Fprintf(&b, "%6d │", 1<<kv)
		for batch := slices.Min(batches); batch <= slices.Max(batches); batch++ {
			b.WriteString("  " + shade(fields[[2]int{batch, kv}]) + "  ")
		}
		b.WriteString("\n")
	}
	width := 5 * (slices.Max(batches) - slices.Min(batches) + 1)
	b.WriteString("       └" + strings.Repeat("─", width) + "\n        ")
	for batch := slices.Min(batches); batch <= slices.Max(batches); batch++ {
		fmt.Fprintf(&b, "%4d ", 1<<batch)
	}
	b.WriteString(" batch size ≤\n")
	return fenced(b.String())
}

// exponent is that of the smallest power of two that is not below n.
func exponent(n int64) int {
	if n <= 1 {
		return 0
	}
	return bits.Len64(uint64(n - 1))
}

func shade(n int) string {
	switch {
	case n == 0:
		return " "
	case n < 4:
		return "·"
	case n < 16:
		return "░"
	case n < 64:
		return "▒"
	case n < 256:
		return "▓"
	}
	return "█"
}
