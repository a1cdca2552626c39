package simulate

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestPool_Property grows and ends sequences at random: no slot has two owners, pages are aligned runs, nothing gets lost.
func TestPool_Property(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		page := rapid.SampledFrom([]int{1, 2, 16, 64}).Draw(t, "page")
		pages := rapid.IntRange(1, 40).Draw(t, "pages")
		p := newPool(pages*page, page)
		owner := map[int32]int{}
		var sequences [][]int32
		t.Repeat(map[string]func(*rapid.T){
			"grow": func(t *rapid.T) {
				i := rapid.IntRange(0, len(sequences)).Draw(t, "sequence")
				if i == len(sequences) {
					sequences = append(sequences, nil)
				}
				old := sequences[i]
				length := len(old) + rapid.IntRange(1, 3*page).Draw(t, "by")
				fits := p.pagesFor(len(old), length) <= len(p.free)
				grown, err := p.extend(old, length)
				if !fits {
					require.ErrorIs(t, err, errPoolFull)
					require.Len(t, grown, len(old))
					return
				}
				require.NoError(t, err)
				require.Len(t, grown, length)
				for at := len(old); at < length; at++ {
					_, taken := owner[grown[at]]
					require.False(t, taken, "slot %d is handed out twice", grown[at])
					owner[grown[at]] = i
				}
				sequences[i] = grown
			},
			"end": func(t *rapid.T) {
				if len(sequences) == 0 {
					return
				}
				i := rapid.IntRange(0, len(sequences)-1).Draw(t, "sequence")
				for _, s := range sequences[i] {
					delete(owner, s)
				}
				p.release(sequences[i])
				sequences[i] = nil
			},
			"": func(t *rapid.T) {
				held := 0
				for _, s := range sequences {
					held += p.pages(len(s))
					for at, slot := range s {
						require.GreaterOrEqual(t, slot, int32(page), "page 0 is padding")
						require.Less(t, slot, int32((pages+1)*page))
						require.EqualValues(t, at%page, slot%int32(page), "place within the page")
						if at%page != 0 {
							require.Equal(t, s[at-1]+1, slot, "a page's slots are consecutive")
						}
					}
				}
				require.Equal(t, pages, held+len(p.free), "pages held and free")
				require.Len(t, slices.Compact(slices.Sorted(slices.Values(p.free))), len(p.free), "a page is free twice")
			},
		})
	})
}

// TestPool_Order is the order in which SGLang's two allocators reuse slots.
func TestPool_Order(t *testing.T) {
	t.Parallel()
	tokens := newPool(6, 1)
	a, err := tokens.extend(nil, 4)
	require.NoError(t, err)
	require.Equal(t, []int32{1, 2, 3, 4}, a)
	tokens.release([]int32{4, 2})
	b, err := tokens.extend(nil, 4)
	require.NoError(t, err)
	require.Equal(t, []int32{5, 6, 4, 2}, b, "freed tokens are reused last, in the order they were freed")

	pages := newPool(16, 4)
	c, err := pages.extend(nil, 10)
	require.NoError(t, err)
	require.Equal(t, []int32{4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, c)
	pages.release([]int32{12, 13, 4, 5, 6, 7})
	d, err := pages.extend(nil, 9)
	require.NoError(t, err)
	require.Equal(t, []int32{4, 5, 6, 7, 12, 13, 14, 15, 16}, d, "freed pages are reused first, sorted")
}
