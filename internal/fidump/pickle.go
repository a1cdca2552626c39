package fidump

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/nlpodyssey/gopickle/pickle"
	"github.com/nlpodyssey/gopickle/types"
)

// A pickle is a program. Two checks stand before the library that runs it: checkPickle accepts only the instructions and names
// that torch.save uses for a dict of tensors and their Python attributes, with lengths that fit the text, and findClass resolves those
// names to the descriptions in rebuild.go only. Nothing that is accepted can call, import or allocate anything else.

// unpickle returns the tensors of a pickled dict of tensors.
func unpickle(data []byte) (views map[string]*torchView, err error) {
	fault := func(format string, args ...any) error {
		return &TorchError{Field: "pickle", Reason: fmt.Sprintf(format, args...)}
	}
	if err := checkPickle(data); err != nil {
		return nil, fault("%v", err)
	}
	defer func() {
		if r := recover(); r != nil { // the library indexes what a malformed program left out
			views, err = nil, fault("malformed: %v", r)
		}
	}()
	u := pickle.NewUnpickler(bytes.NewReader(data))
	u.FindClass = findClass
	u.PersistentLoad = persistentLoad
	top, err := u.Load()
	if err != nil {
		return nil, fault("%v", err)
	}
	dict, ok := top.(*types.Dict)
	if !ok {
		return nil, fault("holds %T, not a dict of tensors", top)
	}
	views = make(map[string]*torchView, dict.Len())
	for _, entry := range *dict {
		key, isString := entry.Key.(string)
		if other, ok := entry.Value.(unread); ok {
			return nil, fault("dict member %v is %s; only dense tensors are read", entry.Key, string(other))
		}
		view, isTensor := entry.Value.(*torchView)
		if !isString || !isTensor || views[key] != nil {
			return nil, fault("dict member %v of %T: not one tensor under a name of its own", entry.Key, entry.Value)
		}
		own := *view // two names may share a tensor
		views[key] = &own
	}
	return views, nil
}

// checkPickle walks the instructions without running them.
func checkPickle(data []byte) error {
	for at := 0; at < len(data); {
		op := data[at]
		begin := at
		at++
		skip := uint64(0)
		switch op {
		case '.':
			return nil
		case '(', ')', '0', '1', '2', 'N', 'Q', 'R', 'a', 'e', ']', '}', 's', 't', 'u', 0x85, 0x86, 0x87, 0x88, 0x89:
		case 0x80, 'K', 'q', 'h':
			skip = 1
		case 'M':
			skip = 2
		case 'J', 'r', 'j':
			skip = 4
		case 'G':
			skip = 8
		case 'X':
			if len(data)-at < 4 {
				return fmt.Errorf("ends inside an instruction at byte %d", begin)
			}
			skip = 4 + uint64(binary.LittleEndian.Uint32(data[at:]))
		case 0x8a:
			if at < len(data) {
				skip = 1 + uint64(data[at])
			}
		case 'c':
			lines := bytes.SplitN(data[at:min(len(data), at+256)], []byte{'\n'}, 3)
			if len(lines) < 3 {
				return fmt.Errorf("name at byte %d does not end", begin)
			}
			if _, ok := pickleNames[[2]string{string(lines[0]), string(lines[1])}]; !ok {
				return fmt.Errorf("names %.60s.%.60s at byte %d, which a dict of tensors does not need; refused", lines[0], lines[1], begin)
			}
			skip = uint64(len(lines[0]) + len(lines[1]) + 2)
		default:
			return fmt.Errorf("instruction 0x%02x at byte %d, which torch.save does not write for a dict of tensors; refused", op, begin)
		}
		if skip > uint64(len(data)-at) {
			return fmt.Errorf("ends inside an instruction at byte %d", begin)
		}
		at += int(skip)
	}
	return fmt.Errorf("ends without a stop instruction after %d bytes", len(data))
}
