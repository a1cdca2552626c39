package hubtest

import (
	"fmt"
	"strings"
	"time"
)

// User is who may use the Hub here.
type User struct {
	Name  string
	Token string
	Role  string // of the token: write (default), read or fineGrained
	// Writer may write to the repository. Others may open pull requests, write to their own, and comment.
	Writer bool
}

// Options are for New and Start. Every field may be left zero.
type Options struct {
	Repo    string            // default flashinfer-ai/flashinfer-trace
	Private bool              // who has no token sees nothing
	Users   []User            // default: one contributor, who may not write to the repository
	Seed    map[string][]byte // files of the first commit, by path; .gitattributes is added where it is missing
	SeedDir string            // or a directory with them; files and directories whose names begin with a dot are left out
	// Dir keeps the state, which a later Start finds there. "" keeps it in a temporary directory until Close.
	Dir    string
	Listen string // address of the Hub, default 127.0.0.1:0; storage is always on a port of its own
	// Lenient takes what the Hub takes, though a careful publisher would not send it.
	Lenient bool

	ChunkSize      int64 // larger objects are uploaded in parts of this size, in bytes; 0: none are
	Verify         bool  // storage has uploads verified
	PageSize       int   // entries in a page of a listing, default 1000
	MostOps        int   // in a commit, more give 413; 0: no limit
	RequestsLimit  int   // of API requests in five minutes; 0: no limit
	CommitsPerHour int   // 0: no limit
	Now            func() time.Time
}

func (o *Options) fill() error {
	if o.Repo == "" {
		o.Repo = "flashinfer-ai/flashinfer-trace"
	}
	if ns, name, ok := strings.Cut(o.Repo, "/"); !ok || ns == "" || name == "" || strings.Contains(name, "/") {
		return fmt.Errorf("repository id is %q, must be NAMESPACE/NAME", o.Repo)
	}
	if len(o.Users) == 0 {
		o.Users = []User{{Name: "contributor", Token: "hf_contributor0000000000000000000000"}}
	}
	for i := range o.Users {
		if o.Users[i].Role == "" {
			o.Users[i].Role = "write"
		}
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.PageSize == 0 {
		o.PageSize = 1000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return nil
}
