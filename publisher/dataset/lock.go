package dataset

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"github.com/tracefleet/tracefleet/internal/atomicfile"
	"github.com/tracefleet/tracefleet/proto"
)

// Private is the directory of our own records in a dataset.
const Private = ".tracefleet"

const lockFile = Private + "/lock"

// Holder says who has the lock. It is told to people, never trusted: the lock itself is the kernel's, and ends with its
// process.
type Holder struct {
	PID   int       `json:"pid"`
	Host  string    `json:"host"`
	Since time.Time `json:"since"`
}

func (h Holder) String() string {
	if h.PID == 0 {
		return "another process"
	}
	return fmt.Sprintf("process %d on %s, since %s", h.PID, h.Host, h.Since.Local().Format(time.DateTime))
}

// lock takes the directory's lock or fails with dataset_locked, which is worth a retry. tree tells first that the private
// directory is inside of the dataset.
func lock(tree *atomicfile.Tree) (*flock.Flock, error) {
	file := filepath.Join(tree.Dir(), filepath.FromSlash(lockFile))
	l := flock.New(file, flock.SetPermissions(atomicfile.FileMode))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", file, err)
	}
	if !ok {
		var h Holder
		if data, err := tree.Root().ReadFile(lockFile); err == nil {
			_ = json.Unmarshal(data, &h)
		}
		return nil, proto.Failf(proto.CodeDatasetLocked, "dataset %s is being written by %s", tree.Dir(), h).
			WithHint("wait for it to end; the lock goes with its process").WithRetry()
	}
	host, _ := os.Hostname()
	if data, err := json.Marshal(Holder{PID: os.Getpid(), Host: host, Since: time.Now().UTC()}); err == nil {
		// Only a courtesy to whoever finds the lock taken: a full disk must not stop a clean-up.
		_ = os.WriteFile(file, append(data, '\n'), atomicfile.FileMode)
	}
	return l, nil
}
