package traffic

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
)

// byteOrderMark is what some editors write at the start of a UTF-8 file.
var byteOrderMark = []byte("\xef\xbb\xbf")

// blocks returns the number of blocks that n tokens take.
func blocks(n, block int) int { return (n + block - 1) / block }

// blockNames parses hash ids. An id is a name and no quantity: any JSON number or text is one, whatever its size or sign, and two ids are
// equal if they are written the same. A number keeps its own spelling, so that 7 and 7.0, or 7 and "7", are two names. names holds every
// name once.
func blockNames(raw []byte, names map[string]string) ([]string, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, fmt.Errorf("field hash_ids is %s, must be an array of numbers or texts", short(raw))
	}
	list := make([]string, len(items))
	for i, item := range items {
		name, known := names[string(item)]
		if !known {
			switch c := item[0]; {
			case c == '"':
				var text string
				if err := json.Unmarshal(item, &text); err != nil {
					return nil, fmt.Errorf("field hash_ids[%d] is %s: %w", i, short(item), err)
				}
				name = `"` + text
			case c == '-' || c >= '0' && c <= '9':
				name = string(item)
			default:
				return nil, fmt.Errorf("field hash_ids[%d] is %s, must be a number or a text", i, short(item))
			}
			names[string(item)] = name
		}
		list[i] = name
	}
	return list, nil
}

// blockRange returns the block sizes, from low to high, in which n tokens take so many blocks; low is over high if there are none.
func blockRange(n, count int) (low, high int) {
	low, high = blocks(n, count), math.MaxInt
	if count > 1 {
		high = (n - 1) / (count - 1)
	}
	return low, high
}

// fittingBlock returns the block size from low to high that a producer most likely used: the power of two, else the least. 0: there is none.
func fittingBlock(low, high int) int {
	if low > high || low < 1 {
		return 0
	}
	if power := 1 << bits.Len(uint(low-1)); power <= high {
		return power
	}
	return low
}

// uncovered returns a note if larger blocks would cover every prompt that has hash ids, and blocks of this size leave whole blocks of each
// without one; empty if not.
func uncovered(list []traceRequest, block int) string {
	low, high, named := 1, math.MaxInt, 0
	for _, q := range list {
		if len(q.hashes) == 0 {
			continue
		}
		from, to := blockRange(q.in, len(q.hashes))
		low, high, named = max(low, from), min(high, to), named+1
		if q.in-len(q.hashes)*block < block {
			return ""
		}
	}
	if fits := fittingBlock(low, high); named > 1 && fits > block {
		return fmt.Sprintf("hash_ids cover a part of every prompt in blocks of %d tokens, and all of it in blocks of %d: is --trace-block-size %d meant?", block, fits, fits)
	}
	return ""
}
