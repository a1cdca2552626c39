package publisher

import (
	"fmt"
	"slices"
	"sync"

	"github.com/tracefleet/tracefleet/publisher/hub"
	"github.com/tracefleet/tracefleet/publisher/prbody"
	"github.com/tracefleet/tracefleet/publisher/push"
)

// pullIndex knows of which definition pull requests are, which never changes: to find one's own among hundreds, each is read once in the
// publisher's life and not once a definition.
type pullIndex struct {
	met        *sync.Map // by where and number: the definition
	where      string    // endpoint and repository
	definition string
}

func (x *pullIndex) key(num int) string { return fmt.Sprintf("%s %d", x.where, num) }

// Another implements push.Index.
func (x *pullIndex) Another(num int) bool {
	of, known := x.met.Load(x.key(num))
	return known && of != x.definition
}

// Met implements push.Index.
func (x *pullIndex) Met(pr hub.PR) {
	if collections, definition := prbody.Marks(pr.Description); len(collections) > 0 {
		x.met.Store(x.key(pr.Num), definition)
	}
}

// whose tells a pull request by its text.
func whose(collection, definition string) func(text string) push.Whose {
	return func(text string) push.Whose {
		switch collections, of := prbody.Marks(text); {
		case len(collections) == 0:
			return push.Theirs
		case of != definition:
			return push.Another
		case slices.Contains(collections, collection):
			return push.Ours
		}
		return push.Earlier
	}
}
