package traffic

import "math/rand/v2"

const (
	mostPrefixes = 4
	perPrefix    = 4 // requests at least for each prefix, where there are so many
	ownPrompt    = 4 // of those that follow, one in so many shares nothing
)

// prefixLengths draws the lengths of the prefixes that requests share: spread from an eighth to three quarters of the longest
// prompt, and not less than a page, below which nothing is cached. Too few or too short requests share nothing.
func prefixLengths(rng *rand.Rand, total, isl, page int) []int {
	if total < 2 || isl < 2 {
		return nil
	}
	low := min(max(isl/8, page, 1), isl-1)
	high := max(isl*3/4, low)
	list := make([]int, min(max(total/perPrefix, 1), mostPrefixes))
	for i := range list {
		from := low + (high-low)*i/len(list)
		to := low + (high-low)*(i+1)/len(list)
		list[i] = from + rng.IntN(to-from+1)
	}
	return list
}

// prefix says which shared prefix a request begins with; -1: none.
func (s *Source) prefix(i int) int {
	if i < len(s.prefixes) {
		return i
	}
	if len(s.prefixes) == 0 {
		return -1
	}
	rng := s.rng("shares", i)
	if rng.IntN(ownPrompt) == 0 {
		return -1
	}
	return rng.IntN(len(s.prefixes))
}
