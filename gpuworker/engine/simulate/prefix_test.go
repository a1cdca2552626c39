package simulate

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestPrefixCache_Property holds the tree against a plain list of what was inserted.
func TestPrefixCache_Property(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		page := rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "page")
		const size = 256
		p := newPool(size, page)
		c := newPrefixCache(p)
		var held []*node
		sequence := func(t *rapid.T) []int32 {
			// Two symbols: many sequences share prefixes.
			return rapid.SliceOfN(rapid.Int32Range(0, 1), 1, 24).Draw(t, "tokens")
		}
		cached := func() int {
			n := 0
			var walk func(*node)
			walk = func(at *node) {
				n += len(at.tokens)
				require.Len(t, at.slots, len(at.tokens))
				require.Zero(t, len(at.tokens)%page, "nodes hold whole pages")
				for key, child := range at.children {
					require.Equal(t, c.key(child.tokens), key)
					require.Same(t, at, child.parent)
					walk(child)
				}
			}
			walk(c.root)
			return n
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				tokens := sequence(t)
				n := c.whole(len(tokens))
				slots, err := p.extend(nil, n)
				if err != nil {
					return
				}
				had := c.insert(tokens, slots)
				require.LessOrEqual(t, had, n)
				p.release(slots[:had])
				got, _ := c.match(tokens)
				require.Len(t, got, n, "what was inserted is found")
				require.Equal(t, slots[had:], got[had:])
			},
			"match": func(t *rapid.T) {
				tokens := sequence(t)
				before := cached()
				got, at := c.match(tokens)
				require.Zero(t, len(got)%page)
				require.Equal(t, before, cached(), "matching stores nothing")
				again, same := c.match(tokens)
				require.Equal(t, got, again)
				require.Same(t, at, same)
			},
			"lock": func(t *rapid.T) {
				_, at := c.match(sequence(t))
				c.lock(at)
				held = append(held, at)
			},
			"unlock": func(*rapid.T) {
				if len(held) > 0 {
					c.unlock(held[0])
					held = held[1:]
				}
			},
			"evict": func(t *rapid.T) {
				want := rapid.IntRange(1, 40).Draw(t, "tokens")
				free, evictable := p.available(), c.evictable
				c.evict(want)
				require.GreaterOrEqual(t, p.available()-free, min(want, evictable), "as much as asked for, or all there is")
				for _, at := range held {
					for n := at; n != c.root; n = n.parent {
						require.Same(t, n, n.parent.children[c.key(n.tokens)], "a locked node was evicted")
					}
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, size, cached()+p.available(), "slots cached and free")
			},
		})
	})
}

// TestPrefixCache_OldestFirst evicts what was not used for longest.
func TestPrefixCache_OldestFirst(t *testing.T) {
	t.Parallel()
	p := newPool(6, 1)
	c := newPrefixCache(p)
	for _, tokens := range [][]int32{{1, 2, 3}, {1, 2, 4}, {5, 6}} {
		have, _ := c.match(tokens)
		slots, err := p.extend(have, len(tokens))
		require.NoError(t, err)
		c.insert(tokens, slots)
	}
	c.match([]int32{1, 2, 3})
	c.evict(1)
	got, _ := c.match([]int32{1, 2, 4})
	require.Len(t, got, 2, "1 2 4 was used before the others, and 1 2 is still part of 1 2 3")
	got, _ = c.match([]int32{5, 6})
	require.Len(t, got, 2)
}
