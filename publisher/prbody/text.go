package prbody

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tracefleet/tracefleet/proto"
)

func (p *Page) head(b *strings.Builder) {
	if p.Simulated {
		b.WriteString("> **SIMULATED.** No GPU ran for at least some of these workloads: they are not measured traffic, and are here for a rehearsal.\n\n")
	}
	noun := "workloads"
	if len(p.Shapes) == 1 {
		noun = "workload"
	}
	fmt.Fprintf(b, "%d %s of %s, collected from calls of %s", len(p.Shapes), noun, code(p.Definition), code(strings.Join(p.APIs, ", ")))
	if p.DefinitionPR != "" {
		fmt.Fprintf(b, "; the definition comes with <%s>", p.DefinitionPR)
	}
	if p.Skipped > 0 {
		fmt.Fprintf(b, "; %d more are left out, since the repository has as much already", p.Skipped)
	}
	b.WriteString(".\n\n")
	if p.Untold > 0 {
		fmt.Fprintf(b, "%d more lines of this definition are in this pull request, of a run that this text has no record of.\n\n", p.Untold)
	}
	rows := p.origin()
	var versions []string
	for _, name := range slices.Sorted(maps.Keys(p.Versions)) {
		versions = append(versions, name+" "+p.Versions[name])
	}
	rows = append(rows, [2]string{"versions", code(strings.Join(versions, ", "))}, [2]string{"baseline", code(p.Solution)}, [2]string{"collection", code(p.Collection)})
	b.WriteString("| | |\n| --- | --- |\n")
	for _, r := range rows {
		if r[1] != "" {
			fmt.Fprintf(b, "| %s | %s |\n", r[0], r[1])
		}
	}
}

// origin returns the rows on where the calls come from.
func (p *Page) origin() [][2]string {
	if r := p.Recorded; r != nil {
		return [][2]string{
			{"model", cell(r.Model)}, {"engine", cell(r.Engine)}, {"release", cell(r.Release)}, {"GPU", cell(r.GPU)},
			{"traffic", unknown}, {"collected by", code(p.Engine) + " of recorded dumps"},
		}
	}
	engine := p.Engine
	if p.Mode != "" {
		engine += ", " + p.Mode
	}
	return [][2]string{{"model", code(p.Model)}, {"engine", code(engine)}, {"GPU", code(p.GPU)}, {"traffic", code(p.Traffic)}, {"flags", code(strings.Join(p.Flags, " "))}}
}

const (
	unknown = "unknown"
	stated  = " (stated by the user)"
)

// cell returns facts as a table's cell.
func cell(facts []Fact) string {
	var parts []string
	for _, f := range facts {
		text := cmp.Or(code(f.Text), unknown)
		if f.Stated {
			text += stated
		}
		parts = append(parts, text)
	}
	return cmp.Or(strings.Join(parts, ", "), unknown)
}

func (p *Page) numbers(b *strings.Builder) {
	b.WriteString("\n## What became of the calls\n\n| batch size | calls | workloads | duplicates | not selected | rejected |\n| ---: | ---: | ---: | ---: | ---: | --- |\n")
	var all proto.Tally
	calls := 0
	row := func(what string, n int, t proto.Tally) {
		fmt.Fprintf(b, "| %s | %d | %d | %d | %d | %s |\n", what, n, t.Workload, t.Duplicate, t.NotSelected, rejected(t.Rejected))
	}
	for _, batch := range p.Batches {
		size := unknown
		if batch.Size > 0 {
			size = strconv.Itoa(batch.Size)
		}
		row(size, batch.Calls, batch.Tally)
		all.Add(batch.Tally)
		calls += batch.Calls
	}
	row("all", calls, all)
	b.WriteString("\nA duplicate has the content of another call (a layer, rank or step) or of a line that was there before; what is not selected fits, but others show more.\n")
	if picture := p.picture(); picture != "" {
		b.WriteString("\n## Batch size against KV length\n\n" + picture)
	}
	b.WriteString("\n## Workloads\n\n| workload | axes | KV length: least, median, most, all | calls of this shape |\n| --- | --- | --- | ---: |\n")
	for _, s := range p.Shapes {
		fmt.Fprintf(b, "| %s | %s | %s | %d |\n", code(s.UUID), code(s.Axes), lengths(s.KV), s.Calls)
	}
}

func rejected(by map[string]int) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%d %s", by[reason], code(reason)))
	}
	return cmp.Or(strings.Join(parts, ", "), "-")
}

func lengths(kv []int64) string {
	if len(kv) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(kv))
	var sum int64
	for _, n := range kv {
		sum += n
	}
	return fmt.Sprintf("%d, %d, %d, %d", sorted[0], sorted[len(sorted)/2], sorted[len(sorted)-1], sum)
}

func (p *Page) warned(b *strings.Builder) {
	if len(p.Warnings) == 0 {
		return
	}
	b.WriteString("\n## Warnings\n\n")
	for _, w := range p.Warnings {
		b.WriteString("- " + code(w) + "\n")
	}
}

func (p *Page) evaluated(b *strings.Builder) {
	b.WriteString("\n## Evaluation\n\n")
	if p.Unproven > 0 {
		fmt.Fprintf(b, "%d workloads of other runs in this draft have no trace of a baseline that passed: it stays one.\n\n", p.Unproven)
	}
	if e := p.Evaluation; e != nil && e.Unseen > 0 {
		fmt.Fprintf(b, "**Not looked at** on %d of %d workloads: what the baseline computes there, which may be constant.\n\n", e.Unseen, e.Of)
	}
	switch e := p.Evaluation; {
	case e == nil:
		b.WriteString("Not run yet: this is a draft until the baseline has passed on every workload.\n")
	case e.Skipped:
		b.WriteString("**Skipped** (`--no-eval`): the baseline was not run on these workloads.\n")
	case e.OK():
		fmt.Fprintf(b, "The baseline %s passed on all %d workloads.\n", code(p.Solution), e.Of)
	default:
		fmt.Fprintf(b, "**Refused**: the baseline %s passed on %d of %d workloads. This is to stay a draft until it passes on all.\n\n| workload | status | log |\n| --- | --- | --- |\n", code(p.Solution), e.Passed, e.Of)
		for _, r := range e.Refused {
			log := []rune(r.Log)
			fmt.Fprintf(b, "| %s | %s | %s |\n", code(r.Workload), code(r.Status), code(string(log[max(0, len(log)-200):])))
		}
	}
}

// log gives the log in a code block of at most so many characters; of a longer one its head and its tail.
func (p *Page) log(room int) (text string, cut bool) {
	lines := make([]string, len(p.Log))
	for i, l := range p.Log {
		lines[i] = plain(l)
		if strings.HasPrefix(lines[i], "<!--") {
			lines[i] = " " + lines[i] // no line but a section's first is a marker
		}
		if longestRun(lines[i], '`') > mostTicks { // the fence is longer than any, twice
			lines[i] = strings.ReplaceAll(lines[i], "`", "'")
		}
	}
	if whole := fenced(strings.Join(lines, "\n")); size(whole) <= room {
		return whole, false
	}
	room -= 200 // the fences, and what is said of the rest
	head, tail, used := 0, len(lines), 0
	for head < tail {
		n := size(lines[head]) + 1
		fromTail := tail < len(lines) && used > room/3 // a third to the head, the rest to the end
		if fromTail || used+n > room/3 {
			n = size(lines[tail-1]) + 1
			if used+n > room {
				break
			}
			tail--
		} else {
			head++
		}
		used += n
	}
	said := fmt.Sprintf("… %d lines are left out; the whole log is %s …", tail-head, p.LogPath)
	return fenced(strings.Join(slices.Concat(lines[:head], []string{said}, lines[tail:]), "\n")), true
}

// mostTicks is the longest run of backticks that a log keeps.
const mostTicks = 40

// plain makes one harmless line: no control characters, no ANSI sequences, no half characters.
func plain(s string) string {
	var b strings.Builder
	escape := false
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '\x1b':
			escape = true
		case escape:
			escape = r == '[' || r == ';' || r >= '0' && r <= '9' || r == '?' // up to the sequence's letter
		case r == '\t':
			b.WriteByte(' ')
		case r == '\n' || r == '\r':
			b.WriteByte(' ')
		case unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Cf, r): // bidirectional overrides too
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// code is an inline code span that holds any text, in a table's cell too; empty for no text.
func code(s string) string {
	s = strings.TrimSpace(plain(s))
	if s == "" {
		return ""
	}
	ticks := strings.Repeat("`", longestRun(s, '`')+1)
	pad := ""
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		pad = " "
	}
	return ticks + pad + strings.ReplaceAll(s, "|", "\\|") + pad + ticks
}

// fenced is a code block that holds any text.
func fenced(s string) string {
	fence := strings.Repeat("`", max(3, longestRun(s, '`')+1))
	return fence + "text\n" + strings.TrimRight(s, "\n") + "\n" + fence + "\n"
}

func longestRun(s string, of byte) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != of {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// cut shortens a text to so many characters.
func cut(s string, most int) string {
	for size(s) > most {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s
}
