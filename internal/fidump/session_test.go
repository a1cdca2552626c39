package fidump

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// sessionLine makes a line as the logger writes it, of call number n of process pid; flush over 0 makes it a snapshot's.
func sessionLine(pid, n, flush int) string {
	stamp := fmt.Sprintf("20261123_000000_%03d", n)
	dir := fmt.Sprintf("/dumps/%s_pid%d_W.run_call%04d", stamp, pid, n)
	tail := fmt.Sprintf(`"dump_dir": %q`, dir)
	if flush > 0 {
		tail = fmt.Sprintf(`"dump_dir": "%[1]s/graph_flushes/flush_%04[2]d", "graph_capture_flushed": true, "graph_capture_flush_index": %[2]d, "graph_capture_snapshot_dir": "x", "graph_capture_base_dump_dir": %[1]q`, dir, flush)
	}
	return fmt.Sprintf(`{"function_name": "W.run", "module": "m", "call_sequence": %d, "timestamp": %q, "process_id": %d, "input_metadata": {"arg_1": "a, \"dump_dir\": \"/trap\""}, "execution_status": "completed", %s}`, n, stamp, pid, tail)
}

func callID(pid, n, flush int) CallID {
	return CallID{fmt.Sprintf("20261123_000000_%03d_pid%d_W.run_call%04d", n, pid, n), flush}
}

func TestSession_Damage(t *testing.T) {
	t.Parallel()
	a, b, c := sessionLine(1, 1, 0), sessionLine(2, 2, 0), sessionLine(1, 3, 0)
	for _, test := range []struct {
		name    string
		text    string
		want    []CallID // in this order
		damaged int
	}{
		{"whole", a + "\n" + b + "\n" + c + "\n", []CallID{callID(1, 1, 0), callID(2, 2, 0), callID(1, 3, 0)}, 0},
		{"repeated", a + "\n" + b + "\n" + a + "\n", []CallID{callID(1, 1, 0), callID(2, 2, 0)}, 0},
		{"replays", a + "\n" + sessionLine(1, 1, 1) + "\n" + b + "\n" + sessionLine(1, 1, 2) + "\n", []CallID{callID(1, 1, 0), callID(1, 1, 1), callID(2, 2, 0), callID(1, 1, 2)}, 0},
		{"glued", a + b + "\n\n" + c + "\n", []CallID{callID(1, 1, 0), callID(2, 2, 0), callID(1, 3, 0)}, 1},
		{"one inside another", a[:200] + b + "\n" + a[200:] + "\n" + c + "\n", []CallID{callID(1, 1, 0), callID(2, 2, 0), callID(1, 3, 0)}, 2},
		{"head of one with the tail of another", a[:200] + b[200:] + "\n", []CallID{callID(1, 1, 0)}, 1},
		{"torn at the end", a + "\n" + b[:220], []CallID{callID(1, 1, 0), callID(2, 2, 0)}, 0},
		{"torn within the name", a + "\n" + b[:100], []CallID{callID(1, 1, 0)}, 0},
		{"tail only", b[150:] + "\n" + a + "\n", []CallID{callID(1, 1, 0)}, 1},
		{"garbage", "\x00\x00\n" + a + "\n[]\n", []CallID{callID(1, 1, 0)}, 2},
		{"empty", "", nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, SessionFile), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			s := NewSession(dir)
			if err := s.Update(); err != nil {
				t.Fatal(err)
			}
			last := int64(-1)
			for _, id := range test.want {
				at, ok := s.Position(id)
				if !ok || at <= last {
					t.Errorf("%v at %d, %v, after %d", id, at, ok, last)
				}
				last = at
			}
			if s.Len() != len(test.want) || s.Damaged() != test.damaged {
				t.Errorf("%d calls, %d damaged lines, want %d and %d", s.Len(), s.Damaged(), len(test.want), test.damaged)
			}
		})
	}
}

// TestSession_Incremental appends byte by byte: what is found must not depend on where reads happened to end.
func TestSession_Incremental(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := NewSession(dir)
	if err := s.Update(); err != nil || s.Len() != 0 {
		t.Fatalf("missing file: %v", err)
	}
	f, err := os.Create(filepath.Join(dir, SessionFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := sessionLine(1, 1, 0) + "\n" + sessionLine(2, 2, 0) + "\n" + sessionLine(1, 1, 1) + "\n"
	for i := range len(text) {
		if _, err := f.WriteString(text[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if err := s.Update(); err != nil {
			t.Fatal(err)
		}
	}
	first := int64(len(sessionLine(1, 1, 0)) + 1)
	if at, ok := s.Position(callID(2, 2, 0)); !ok || at != first {
		t.Errorf("second call at %d, %v, want %d", at, ok, first)
	}
	if s.Len() != 3 || s.Damaged() != 0 {
		t.Errorf("%d calls, %d damaged", s.Len(), s.Damaged())
	}
	if err := f.Truncate(0); err != nil { // a new run in the same directory
		t.Fatal(err)
	}
	if err := s.Update(); err != nil || s.Len() != 0 {
		t.Errorf("after truncation: %d calls, %v", s.Len(), err)
	}
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(sessionLine(1, 1, 0)+"\n"+sessionLine(1, 1, 3)+"\n"), 7)
	f.Add([]byte(sessionLine(1, 1, 0)[:150]+sessionLine(2, 2, 0)+"\n"), 100)
	f.Fuzz(func(t *testing.T, data []byte, cut int) {
		whole, parts := NewSession(""), NewSession("")
		feed := func(s *Session, data []byte) {
			s.offset += int64(len(data))
			s.take(data)
		}
		feed(whole, data)
		cut = min(max(cut, 0), len(data))
		feed(parts, data[:cut])
		feed(parts, data[cut:])
		if whole.damaged != parts.damaged || len(whole.first) != len(parts.first) {
			t.Fatalf("read at once: %v, %d damaged; in two parts: %v, %d damaged", whole.first, whole.damaged, parts.first, parts.damaged)
		}
		for id, at := range whole.first {
			if parts.first[id] != at || at < 0 || at >= int64(len(data)) {
				t.Errorf("%v at %d, in two parts at %d", id, at, parts.first[id])
			}
		}
	})
}
