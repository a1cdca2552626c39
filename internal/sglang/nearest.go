package sglang

import "strings"

// completions gives the options that an abbreviation may stand for, each by one spelling, sorted. Deprecated ones count, as they
// do to argparse: what is ambiguous there is so here.
func (t *Table) completions(name string) []string {
	if !strings.HasPrefix(name, "--") || len(name) < 4 {
		return nil
	}
	var full []string
	seen := map[*Option]bool{}
	for _, spelling := range t.spellings() {
		if o := t.names[spelling]; strings.HasPrefix(spelling, name) && !seen[o] {
			seen[o] = true
			full = append(full, spelling)
		}
	}
	return full
}

// instead gives what to use for a flag that the release lacks: what another release names in its place, where this one has
// that, else the current option whose spelling is closest; "" where nothing is close.
func (t *Table) instead(name string) string {
	byRelease, releases := tables()
	for _, r := range releases {
		o := byRelease[r].names[name]
		if o == nil || o.Use == "" {
			continue
		}
		flag, _, _ := strings.Cut(o.Use, "=")
		if current := t.names[flag]; current != nil && !current.Deprecated && !current.Refused {
			return o.Use
		}
	}
	return t.nearest(name)
}

func (t *Table) nearest(name string) string {
	name = strings.ReplaceAll(name, "_", "-")
	best, distance := "", 1+len(name)/4
	for _, spelling := range t.spellings() {
		if o := t.names[spelling]; o.Deprecated || o.Refused {
			continue
		}
		if d := edits(name, spelling, distance); d < distance {
			best, distance = spelling, d
		}
	}
	return best
}

// edits counts the insertions, deletions and replacements from a to b; most or more means: not fewer than most.
func edits(a, b string, most int) int {
	if len(a)-len(b) >= most || len(b)-len(a) >= most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
