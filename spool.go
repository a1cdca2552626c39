package main

import (
	"fmt"
	"os"

	"github.com/tracefleet/tracefleet/proto"
)

// spool keeps tensors by digest while a directory is converted: in memory up to a budget, the rest in a temporary file, so
// that memory does not grow with the number of dumps. It is used from one goroutine.
type spool struct {
	memory map[string][]byte
	left   int64 // bytes that may still go to memory
	file   *os.File
	placed map[string]span
	end    int64
}

// span is a place in the spool's file.
type span struct{ offset, length int64 }

func newSpool(budget int64) *spool {
	return &spool{memory: map[string][]byte{}, left: budget, placed: map[string]span{}}
}

// Put keeps data, which is not copied. What is there is not kept again.
func (s *spool) Put(digest string, data []byte) error {
	if _, ok := s.memory[digest]; ok {
		return nil
	}
	if _, ok := s.placed[digest]; ok {
		return nil
	}
	if int64(len(data)) <= s.left {
		s.left -= int64(len(data))
		s.memory[digest] = data
		return nil
	}
	if s.file == nil {
		f, err := os.CreateTemp("", "tracefleet-spool-*")
		if err != nil {
			return fmt.Errorf("keep tensor: %w", err)
		}
		s.file = f
		_ = os.Remove(f.Name()) // the open file lives on; nothing is left behind however this ends
	}
	if _, err := s.file.WriteAt(data, s.end); err != nil {
		return fmt.Errorf("keep tensor in %s: %w; TMPDIR chooses another place", os.TempDir(), err)
	}
	s.placed[digest] = span{s.end, int64(len(data))}
	s.end += int64(len(data))
	return nil
}

// Get gives what Put kept.
func (s *spool) Get(digest string) ([]byte, error) {
	if data, ok := s.memory[digest]; ok {
		return data, nil
	}
	place, ok := s.placed[digest]
	if !ok {
		return nil, proto.Failf(proto.CodeTensorLost, "tensor %s was not kept", digest)
	}
	data := make([]byte, place.length)
	if _, err := s.file.ReadAt(data, place.offset); err != nil {
		return nil, fmt.Errorf("read tensor back from the spool: %w", err)
	}
	return data, nil
}

// Close frees the file.
func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
