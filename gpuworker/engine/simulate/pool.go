package simulate

import (
	"errors"
	"slices"
)

// errPoolFull says that there are not enough free pages; the scheduler evicts, waits or retracts.
var errPoolFull = errors.New("kv pool is full")

// pool hands out KV slots, one a token, in pages of aligned, consecutive slots. Its free list is what makes index arrays
// look real: it is never sorted, so that slots scatter as requests come and go. With pages of one token what is freed goes
// to the end of the list; with larger pages the freed pages, sorted, go to its front: as in SGLang's two allocators.
// Page 0 is never handed out (the real one pads with it).
type pool struct {
	pageSize int
	free     []int32 // page numbers, the next to be taken first
}

// newPool makes a pool of tokens slots, rounded down to whole pages.
func newPool(tokens, pageSize int) *pool {
	p := &pool{pageSize: pageSize, free: make([]int32, tokens/pageSize)}
	for i := range p.free {
		p.free[i] = int32(i + 1)
	}
	return p
}

// available is how many slots are free, in whole pages.
func (p *pool) available() int { return len(p.free) * p.pageSize }

// pagesFor is how many new pages a sequence needs to grow from one length to another.
func (p *pool) pagesFor(from, to int) int { return p.pages(to) - p.pages(from) }

func (p *pool) pages(tokens int) int { return (tokens + p.pageSize - 1) / p.pageSize }

// extend grows a sequence to the given length: first into its last, partial page, then into pages from the free list.
func (p *pool) extend(slots []int32, length int) ([]int32, error) {
	need := p.pagesFor(len(slots), length)
	if need > len(p.free) {
		return slots, errPoolFull
	}
	taken := p.free[:need]
	p.free = p.free[need:]
	for len(slots) < length {
		if at := len(slots) % p.pageSize; at != 0 {
			slots = append(slots, slots[len(slots)-1]+1)
			continue
		}
		slots = append(slots, taken[0]*int32(p.pageSize))
		taken = taken[1:]
	}
	return slots, nil
}

// release gives back the pages that the slots are in. The caller gives whole pages back, or the last one in part.
func (p *pool) release(slots []int32) {
	if len(slots) == 0 {
		return
	}
	if p.pageSize == 1 {
		p.free = append(p.free, slots...)
		return
	}
	pages := make([]int32, 0, len(slots)/p.pageSize+1)
	for _, s := range slots {
		pages = append(pages, s/int32(p.pageSize))
	}
	slices.Sort(pages)
	p.free = slices.Concat(slices.Compact(pages), p.free)
}
