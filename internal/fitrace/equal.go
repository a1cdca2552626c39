package fitrace

import (
	"bytes"
	"encoding/json"
	"reflect"
)

// EqualJSON reports whether two texts are the same JSON value: white space and the order of keys aside, numbers as they are written.
func EqualJSON(a, b []byte) bool {
	decode := func(data []byte) (v any, err error) {
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		err = dec.Decode(&v)
		return v, err
	}
	x, errX := decode(a)
	y, errY := decode(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}
