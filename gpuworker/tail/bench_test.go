package tail_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/tracefleet/tracefleet/gpuworker/tail"
	"github.com/tracefleet/tracefleet/internal/safetensors"
	"github.com/tracefleet/tracefleet/proto"
)

// bareLoop does the least that any converter must: open each dump, read its metadata, header and integer tensors.
func bareLoop(b *testing.B, dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if f, err := os.Open(filepath.Join(dir, e.Name(), "metadata.jsonl")); err == nil {
			_, err = io.ReadAll(f)
			f.Close()
			if err != nil {
				b.Fatal(err)
			}
		}
		f, err := safetensors.Open(filepath.Join(dir, e.Name(), "inputs.safetensors"))
		if err != nil {
			b.Fatal(err)
		}
		for _, t := range f.Header().Tensors {
			if t.DType.Integer() {
				if _, err := f.Read(t.Name); err != nil {
					b.Fatal(err)
				}
			}
		}
		f.Close()
	}
}

// BenchmarkScan converts 5,000 sparse dumps of 67 GB, and gives how much longer that takes than the bare loop over them.
func BenchmarkScan(b *testing.B) {
	dir := b.TempDir()
	s := newSynth(b, dir, 100)
	for range 500 {
		s.step(1, 9)
	}
	var bare, scan time.Duration
	for b.Loop() {
		t := time.Now()
		bareLoop(b, dir)
		bare += time.Since(t)
		t = time.Now()
		n := 0
		counts, err := tail.Scan(b.Context(), dir, origin, func(m *proto.Manifest, _ map[string][]byte) error {
			n++
			return nil
		})
		scan += time.Since(t)
		if err != nil || n != 4500 || counts.Dumps != 5000 {
			b.Fatalf("%d manifests, %+v, %v", n, counts, err)
		}
	}
	b.ReportMetric(float64(bare.Milliseconds())/float64(b.N), "bare-ms")
	b.ReportMetric(float64(scan.Milliseconds())/float64(b.N), "scan-ms")
	b.ReportMetric(scan.Seconds()/bare.Seconds(), "scan/bare")
}

// BenchmarkTail writes 200 dumps a second, and gives the largest backlog in the last third of the time over that in the first.
func BenchmarkTail(b *testing.B) {
	const rate, seconds = 200, 6
	var first, last, most int
	for b.Loop() {
		dir := b.TempDir()
		got := newSink(b)
		r := start(b, tail.Options{Dir: dir, Origin: origin, Delete: true, Ship: got.ship, Log: zerolog.Nop()})
		s := newSynth(b, dir, 100)
		begun := time.Now()
		for i := range rate * seconds {
			if i%10 == 0 {
				s.plan(1)
			} else {
				s.run(1)
			}
			backlog := r.tailer.Snapshot().Backlog
			switch most = max(most, backlog); 3 * i / (rate * seconds) {
			case 0:
				first = max(first, backlog)
			case 2:
				last = max(last, backlog)
			}
			time.Sleep(time.Until(begun.Add(time.Duration(i+1) * time.Second / rate)))
		}
		if err := r.stop(); err != nil || got.len() != rate*seconds*9/10 {
			b.Fatalf("%d manifests, %v", got.len(), err)
		}
	}
	b.ReportMetric(float64(most), "backlog")
	b.ReportMetric(float64(last)/float64(max(first, 1)), "last/first")
	if last > 2*max(first, rate/10) { // a tenth of a second's dumps is what one poll may find
		b.Errorf("the backlog grew from %d to %d dumps", first, last)
	}
}
