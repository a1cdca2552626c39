package simulate

import (
	"encoding/binary"
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tracefleet/tracefleet/proto"
)

// memory is a KV pool whose content is checked: each slot remembers which token sequence it was computed for.
type memory map[int32]uint64

// run serves everything and checks each pass: every slot a row reads holds what that row's tokens need.
func (m memory) run(t require.TestingT, s *scheduler, check func(*batch)) {
	pages := len(s.pool.free)
	for passes := 0; ; passes++ {
		require.Less(t, passes, 200000, "the schedule does not end")
		b := s.next()
		if b == nil {
			break
		}
		written := map[int32]bool{}
		for _, r := range b.rows {
			require.Less(t, r.prefix, r.seq, "a row computes something")
			require.Len(t, r.slots, r.seq)
			require.LessOrEqual(t, r.seq, len(r.req.tokens))
			h := fnv.New64a()
			for i, slot := range r.slots {
				var word [4]byte
				binary.LittleEndian.PutUint32(word[:], uint32(r.req.tokens[i]))
				h.Write(word[:])
				if i >= r.prefix {
					require.False(t, written[slot], "slot %d is written twice in a pass", slot)
					written[slot] = true
					m[slot] = h.Sum64()
				}
			}
		}
		for _, r := range b.rows {
			h := fnv.New64a()
			for i, slot := range r.slots {
				var word [4]byte
				binary.LittleEndian.PutUint32(word[:], uint32(r.req.tokens[i]))
				h.Write(word[:])
				require.Equal(t, h.Sum64(), m[slot], "request %d reads slot %d at %d, which holds something else", r.req.id, slot, i)
			}
		}
		if check != nil {
			check(b)
		}
		s.complete(b)
	}
	cached := 0
	if s.cache != nil {
		cached = s.cache.evictable
	}
	require.Equal(t, pages*s.pool.pageSize, s.pool.available()+cached, "slots free or cached when all is served")
}

func TestScheduler_Property(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		page := rapid.SampledFrom([]int{1, 4, 16}).Draw(t, "page")
		task := proto.Task{
			ID: "t000", BatchSize: rapid.IntRange(1, 12).Draw(t, "batch"),
			Traffic: proto.Traffic{
				NumBatches: rapid.IntRange(1, 4).Draw(t, "batches"), ISL: rapid.IntRange(1, 60).Draw(t, "isl"),
				OSL: rapid.IntRange(1, 30).Draw(t, "osl"), RangeRatio: rapid.Float64Range(0, 1).Draw(t, "ratio"),
				Seed: rapid.Int64().Draw(t, "seed"), DisableRadix: rapid.Bool().Draw(t, "no radix"),
			},
			Engine: proto.EngineSpec{Mode: rapid.SampledFrom([]proto.EngineMode{
				proto.ModeOffline, proto.ModeHTTPPaged, proto.ModeHTTPRagged, proto.ModeAny}).Draw(t, "mode")},
		}
		src, err := newSource(&task)
		require.NoError(t, err)
		total := src.Total()
		if rapid.Bool().Draw(t, "tight pool") {
			task.Engine.PoolToken = (src.Longest()/page + 2 + rapid.IntRange(0, 6).Draw(t, "spare")) * page
		}
		chunk := rapid.SampledFrom([]int{-1, 16, 32, 8192}).Draw(t, "chunk")
		s, err := newScheduler(&task, src, page, chunk)
		require.NoError(t, err)
		memory{}.run(t, s, func(b *batch) {
			require.LessOrEqual(t, len(b.rows), task.BatchSize, "more in flight than the batch size")
			tokens := 0
			for _, r := range b.rows {
				tokens += r.seq - r.prefix
				if !b.prefill {
					require.Equal(t, 1, r.seq-r.prefix)
				}
			}
			if b.prefill && chunk > 0 {
				require.LessOrEqual(t, tokens, chunk)
			}
		})
		require.Equal(t, total, s.served)
	})
}

func scheduled(t *testing.T, task proto.Task, page, chunk int) (*scheduler, []*batch) {
	t.Helper()
	task.ID = "t000"
	src, err := newSource(&task)
	require.NoError(t, err)
	s, err := newScheduler(&task, src, page, chunk)
	require.NoError(t, err)
	var passes []*batch
	memory{}.run(t, s, func(b *batch) { passes = append(passes, b) })
	return s, passes
}

func TestScheduler_HoldsConcurrency(t *testing.T) {
	t.Parallel()
	_, passes := scheduled(t, proto.Task{BatchSize: 8, Traffic: proto.Traffic{NumBatches: 4, ISL: 50, OSL: 20, RangeRatio: 0.2, Seed: 3, DisableRadix: true}}, 1, defaultChunk)
	full := 0
	for _, b := range passes {
		if !b.prefill && len(b.rows) == 8 {
			full++
		}
	}
	require.Greater(t, full, len(passes)/3, "most decode passes have the whole batch")
}

func TestScheduler_Chunks(t *testing.T) {
	t.Parallel()
	_, passes := scheduled(t, proto.Task{BatchSize: 2, Traffic: proto.Traffic{NumBatches: 1, ISL: 100, OSL: 2, RangeRatio: 1, Seed: 3, DisableRadix: true}}, 1, 64)
	var got [][2]int
	for _, b := range passes {
		for _, r := range b.rows {
			if b.prefill {
				got = append(got, [2]int{r.prefix, r.seq})
			}
		}
	}
	require.Equal(t, [][2]int{{0, 64}, {64, 100}, {0, 28}, {28, 92}, {92, 100}}, got)
}

func TestScheduler_Retracts(t *testing.T) {
	t.Parallel()
	s, _ := scheduled(t, proto.Task{
		BatchSize: 8, Traffic: proto.Traffic{NumBatches: 2, ISL: 20, OSL: 200, RangeRatio: 1, Seed: 3},
		Engine: proto.EngineSpec{PoolToken: 900},
	}, 1, defaultChunk)
	require.Positive(t, s.retract)
	require.Equal(t, 16, s.served)
}

// TestScheduler_SharesPrefixes: whoever begins as one of the first requests did finds it in the cache, whatever the batch size,
// since nobody comes before they are served.
func TestScheduler_SharesPrefixes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		page := rapid.SampledFrom([]int{1, 16, 64}).Draw(t, "page")
		task := proto.Task{
			ID: "t000", BatchSize: rapid.SampledFrom([]int{1, 2, 8, 16}).Draw(t, "batch"),
			Traffic: proto.Traffic{
				NumBatches: rapid.IntRange(2, 4).Draw(t, "batches"), ISL: rapid.IntRange(2*page+14, 300).Draw(t, "isl"),
				OSL: rapid.IntRange(1, 8).Draw(t, "osl"), RangeRatio: rapid.Float64Range(0, 1).Draw(t, "ratio"), Seed: rapid.Int64().Draw(t, "seed"),
			},
			Engine: proto.EngineSpec{Mode: proto.ModeHTTPPaged, PageSize: page},
		}
		src, err := newSource(&task)
		require.NoError(t, err)
		s, err := newScheduler(&task, src, page, defaultChunk)
		require.NoError(t, err)
		var first [][]int32
		cached, seen := map[int]int{}, map[int]*request{}
		memory{}.run(t, s, func(b *batch) {
			for _, r := range b.rows {
				if _, known := cached[r.req.id]; !known {
					cached[r.req.id], seen[r.req.id] = r.prefix, r.req
				}
				if r.req.after == 0 && b.prefill {
					first = append(first, r.req.tokens[:r.req.prompt])
				}
			}
		})
		followers, hits := 0, 0
		for id, r := range seen {
			prompt, most := r.tokens[:r.prompt-1], 0
			for _, f := range first {
				most = max(most, s.cache.common(prompt, f))
			}
			if r.after > 0 && most > 1 {
				followers++
				if cached[id] >= most {
					hits++
				}
			}
		}
		// Of a few short requests, one that evicts a prefix from the small pool is a large part.
		require.GreaterOrEqual(t, hits, followers*9/10-4, "%d of %d found what they share", hits, followers)
		if total := len(seen); total >= 16 && task.Traffic.RangeRatio > 0.5 {
			require.Greater(t, hits, total/3, "of %d requests", total)
		}
	})
}

func TestScheduler_SharesNothing(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		mode proto.EngineMode
		off  bool
	}{{proto.ModeHTTPPaged, true}, {proto.ModeHTTPRagged, true}, {proto.ModeHTTPRagged, false}} {
		_, passes := scheduled(t, proto.Task{
			BatchSize: 8, Traffic: proto.Traffic{NumBatches: 4, ISL: 64, OSL: 4, RangeRatio: 0.5, Seed: 3, DisableRadix: tc.off},
			Engine: proto.EngineSpec{Mode: tc.mode},
		}, 1, defaultChunk)
		for _, b := range passes {
			for _, r := range b.rows {
				require.True(t, !b.prefill || r.prefix < 2, "%s, radix off %t: %d cached tokens", tc.mode, tc.off, r.prefix) // a first token may be the same by chance
			}
		}
	}
}

// TestScheduler_OfflineBatches: each decode step of an offline batch has the batch size, to the end of the batch.
func TestScheduler_OfflineBatches(t *testing.T) {
	t.Parallel()
	s, passes := scheduled(t, proto.Task{
		BatchSize: 8, Traffic: proto.Traffic{NumBatches: 4, ISL: 64, OSL: 40, RangeRatio: 0.2, Seed: 3},
		Engine: proto.EngineSpec{Mode: proto.ModeOffline},
	}, 1, 128)
	require.Equal(t, 32, s.served)
	for _, b := range passes {
		if !b.prefill {
			require.Len(t, b.rows, 8)
		}
	}
}

func TestScheduler_Fragments(t *testing.T) {
	t.Parallel()
	_, passes := scheduled(t, proto.Task{BatchSize: 8, Traffic: proto.Traffic{NumBatches: 6, ISL: 60, OSL: 30, RangeRatio: 0.2, Seed: 3, DisableRadix: true}}, 1, defaultChunk)
	last := passes[len(passes)*3/4]
	jumps := 0
	for _, r := range last.rows {
		for i := 1; i < len(r.slots); i++ {
			if r.slots[i] != r.slots[i-1]+1 {
				jumps++
			}
		}
	}
	require.Greater(t, jumps, len(last.rows), "slots of a request are scattered once others have come and gone")
}

func TestScheduler_PoolTooSmall(t *testing.T) {
	t.Parallel()
	task := proto.Task{ID: "t000", BatchSize: 1, Traffic: proto.Traffic{ISL: 100, OSL: 100}, Engine: proto.EngineSpec{PoolToken: 150}}
	src, err := newSource(&task)
	require.NoError(t, err)
	_, err = newScheduler(&task, src, 1, defaultChunk)
	var f *proto.Failure
	require.ErrorAs(t, err, &f)
	require.Equal(t, proto.CodeBadCollection, f.Code)
	require.Contains(t, f.Message, "150 tokens")
}
