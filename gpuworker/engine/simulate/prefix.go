package simulate

import (
	"cmp"
	"container/heap"
	"encoding/binary"
)

// prefixCache is a radix tree from token sequences to the KV slots that hold them, in whole pages. Nodes on the path of a
// request in flight are locked; the others go when the pool needs room, the longest unused leaf first.
type prefixCache struct {
	pool      *pool
	root      *node
	clock     uint64 // counts accesses, in place of time
	ids       uint64
	evictable int // tokens in unlocked nodes
}

type node struct {
	parent   *node
	children map[string]*node // by the tokens of their first page
	tokens   []int32
	slots    []int32
	locks    int
	used     uint64
	id       uint64
}

func newPrefixCache(p *pool) *prefixCache {
	return &prefixCache{pool: p, root: &node{children: map[string]*node{}, locks: 1}}
}

func (c *prefixCache) key(tokens []int32) string {
	b := make([]byte, 0, 4*c.pool.pageSize)
	for _, t := range tokens[:c.pool.pageSize] {
		b = binary.LittleEndian.AppendUint32(b, uint32(t))
	}
	return string(b)
}

// whole cuts a length down to whole pages.
func (c *prefixCache) whole(n int) int { return n - n%c.pool.pageSize }

// common is how many tokens two sequences share from their start, in whole pages.
func (c *prefixCache) common(a, b []int32) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return c.whole(n)
}

// match finds the longest cached prefix: its slots, and the node where it ends. A node of which only a part matches is split.
func (c *prefixCache) match(tokens []int32) ([]int32, *node) {
	c.clock++
	at, slots := c.root, []int32(nil)
	tokens = tokens[:c.whole(len(tokens))]
	for len(tokens) > 0 {
		next := at.children[c.key(tokens)]
		if next == nil {
			break
		}
		n := c.common(next.tokens, tokens)
		if n < len(next.tokens) {
			next = c.split(next, n)
		}
		next.used = c.clock
		slots = append(slots, next.slots...)
		at, tokens = next, tokens[n:]
	}
	return slots, at
}

// split cuts a node after n tokens and gives the upper half.
func (c *prefixCache) split(low *node, n int) *node {
	c.ids++
	high := &node{
		parent: low.parent, children: map[string]*node{}, tokens: low.tokens[:n:n], slots: low.slots[:n:n],
		locks: low.locks, used: low.used, id: c.ids,
	}
	high.parent.children[c.key(high.tokens)] = high
	low.parent, low.tokens, low.slots = high, low.tokens[n:], low.slots[n:]
	high.children[c.key(low.tokens)] = low
	return high
}

// insert stores the slots of a sequence's whole pages and gives how many of its tokens were there already: for those the
// tree keeps its own slots, and the caller's are its to release.
func (c *prefixCache) insert(tokens, slots []int32) int {
	tokens = tokens[:c.whole(len(tokens))]
	have, at := c.match(tokens)
	if n := len(have); n < len(tokens) {
		c.ids++
		leaf := &node{
			parent: at, children: map[string]*node{}, used: c.clock, id: c.ids,
			tokens: append([]int32(nil), tokens[n:]...), slots: append([]int32(nil), slots[n:len(tokens)]...),
		}
		at.children[c.key(leaf.tokens)] = leaf
		c.evictable += len(leaf.tokens)
	}
	return len(have)
}

// lock keeps a node and all above it from eviction.
func (c *prefixCache) lock(n *node) {
	for ; n != nil && n != c.root; n = n.parent {
		if n.locks == 0 {
			c.evictable -= len(n.tokens)
		}
		n.locks++
	}
}

// unlock undoes one lock.
func (c *prefixCache) unlock(n *node) {
	for ; n != nil && n != c.root; n = n.parent {
		n.locks--
		if n.locks == 0 {
			c.evictable += len(n.tokens)
		}
	}
}

// evict releases at least the given number of tokens, if there are so many that nobody holds.
func (c *prefixCache) evict(tokens int) {
	var leaves leafHeap
	c.collect(c.root, &leaves)
	heap.Init(&leaves)
	for tokens > 0 && leaves.Len() > 0 {
		leaf := heap.Pop(&leaves).(*node)
		c.pool.release(leaf.slots)
		tokens -= len(leaf.tokens)
		c.evictable -= len(leaf.tokens)
		parent := leaf.parent
		delete(parent.children, c.key(leaf.tokens))
		if parent.locks == 0 && len(parent.children) == 0 {
			heap.Push(&leaves, parent)
		}
	}
}

func (c *prefixCache) collect(n *node, into *leafHeap) {
	if n != c.root && n.locks == 0 && len(n.children) == 0 {
		*into = append(*into, n)
	}
	for _, child := range n.children {
		c.collect(child, into)
	}
}

// leafHeap orders leaves by last use, then by age: a total order, so that the map's own order never shows.
type leafHeap []*node

func (h leafHeap) Len() int      { return len(h) }
func (h leafHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h leafHeap) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].used, h[j].used), cmp.Compare(h[i].id, h[j].id)) < 0
}
func (h *leafHeap) Push(x any) { *h = append(*h, x.(*node)) }
func (h *leafHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
