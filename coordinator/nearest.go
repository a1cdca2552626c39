package coordinator

import (
	"cmp"
	"slices"
)

// nearest gives at most n of known that a person who typed name may have meant, nearest first.
func nearest(name string, known []string, n int) []string {
	type scored struct {
		name     string
		distance int
	}
	// A third of the letters may differ: enough for a wrong head count or page size, too little for another kernel.
	limit := max(2, len(name)/3)
	var near []scored
	for _, k := range known {
		if d := editDistance(name, k); d <= limit {
			near = append(near, scored{k, d})
		}
	}
	slices.SortFunc(near, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, s := range near[:min(n, len(near))] {
		out = append(out, s.name)
	}
	return out
}

// editDistance is Levenshtein's, over bytes: definition names are ASCII.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitute := diagonal
			if a[i-1] != b[j-1] {
				substitute++
			}
			diagonal = row[j]
			row[j] = min(row[j]+1, row[j-1]+1, substitute)
		}
	}
	return row[len(b)]
}
