package proto

import (
	"fmt"
	"time"
)

// PushStep is a step of a definition's pull request. They come in this order; batch comes again after each batch size.
type PushStep string

// The steps.
const (
	PushCheck    PushStep = "check"    // before anything is written: token, repository, pull request, definition
	PushBatch    PushStep = "batch"    // what was published so far is in the pull request, a draft
	PushPrepare  PushStep = "prepare"  // what an evaluation needs is in the tensor store
	PushConclude PushStep = "conclude" // the evaluation is judged, or skipped: traces, the last text, out of draft
)

// Push asks the publisher for one step of a definition's pull request.
type Push struct {
	Collection string        `msgpack:"collection" json:"collection"`
	Index      int           `msgpack:"index" json:"index"` // the definition's place in the collection
	Definition DefinitionRef `msgpack:"definition" json:"definition"`
	Step       PushStep      `msgpack:"step" json:"step"`
	Round      uint32        `msgpack:"round,omitempty" json:"round,omitempty"`           // how often the user had failed pushes retried
	Workloads  []string      `msgpack:"workloads,omitempty" json:"workloads,omitempty"`   // uuids that this collection published, in the order of their lines
	Evaluation uint32        `msgpack:"evaluation,omitempty" json:"evaluation,omitempty"` // conclude: the attempt of the evaluation's task that ended
}

// EvaluationID is the task id of the evaluation of a collection's index-th definition.
func EvaluationID(index int) string { return fmt.Sprintf("e%03d", index) }

// Kind implements Message.
func (*Push) Kind() Kind { return KindPush }

// Validate implements Message.
func (p *Push) Validate() error {
	if err := checkToken("collection", p.Collection); err != nil {
		return err
	}
	if p.Index < 0 {
		return fmt.Errorf("index is %d, must not be negative", p.Index)
	}
	switch p.Step {
	case PushCheck, PushBatch, PushPrepare, PushConclude:
	default:
		return fmt.Errorf("step is %q, must be check, batch, prepare or conclude", p.Step)
	}
	return p.Definition.validate()
}

// PushState is the truth about a definition's pull request, in the pushes bucket under "<collection>.<index>". The publisher
// writes it; the coordinator only for a retry by the user, or where its message died with nobody left to say so.
type PushState struct {
	Collection string      `msgpack:"collection" json:"collection"`
	Index      int         `msgpack:"index" json:"index"`
	Definition string      `msgpack:"definition" json:"definition"`
	Step       PushStep    `msgpack:"step,omitempty" json:"step,omitempty"`   // the last one done
	Round      uint32      `msgpack:"round,omitempty" json:"round,omitempty"` // of the retries
	PR         int         `msgpack:"pr,omitempty" json:"pr,omitempty"`       // number of the pull request; 0: none yet
	URL        string      `msgpack:"url,omitempty" json:"url,omitempty"`
	Head       string      `msgpack:"head,omitempty" json:"head,omitempty"`           // its latest commit of ours
	Open       bool        `msgpack:"open,omitempty" json:"open,omitempty"`           // it is no draft any more
	Held       bool        `msgpack:"held,omitempty" json:"held,omitempty"`           // the pull request is open: Workloads follow when the evaluation has passed
	Unproven   int         `msgpack:"unproven,omitempty" json:"unproven,omitempty"`   // other runs' workloads in the draft that have no passing trace, and keep it one
	Workloads  []string    `msgpack:"workloads,omitempty" json:"workloads,omitempty"` // in the pull request, or held; in the order of their lines
	Skipped    []string    `msgpack:"skipped,omitempty" json:"skipped,omitempty"`     // left out: the repository has as much already
	Commits    int         `msgpack:"commits,omitempty" json:"commits,omitempty"`
	Bytes      int64       `msgpack:"bytes,omitempty" json:"bytes,omitempty"` // of file content sent
	Plan       []string    `msgpack:"plan,omitempty" json:"plan,omitempty"`   // --no-push: what would be done, a line each
	Evaluate   *Evaluate   `msgpack:"evaluate,omitempty" json:"evaluate,omitempty"`
	Evaluation *Evaluation `msgpack:"evaluation,omitempty" json:"evaluation,omitempty"`
	Warnings   []string    `msgpack:"warnings,omitempty" json:"warnings,omitempty"`
	Failure    *Failure    `msgpack:"failure,omitempty" json:"failure,omitempty"` // it ended here; a retry goes on
	FinishedAt time.Time   `msgpack:"finished_at,omitempty" json:"finished_at,omitzero"`
}

// Evaluation is what came of running the baseline on a pull request's workloads.
type Evaluation struct {
	Attempt uint32              `msgpack:"attempt" json:"attempt"` // of the task that ran it; 0: --no-eval
	Passed  int                 `msgpack:"passed" json:"passed"`
	Of      int                 `msgpack:"of" json:"of"`
	Skipped bool                `msgpack:"skipped,omitempty" json:"skipped,omitempty"` // --no-eval
	Unseen  int                 `msgpack:"unseen,omitempty" json:"unseen,omitempty"`   // workloads on which it was not looked at what the baseline computes
	Refused []RefusedEvaluation `msgpack:"refused,omitempty" json:"refused,omitempty"` // what did not pass, or is missing
}

// RefusedEvaluation is a workload that keeps a pull request a draft.
type RefusedEvaluation struct {
	Workload string `msgpack:"workload" json:"workload"`
	Status   string `msgpack:"status" json:"status"` // flashinfer-bench's word, such as RUNTIME_ERROR; MISSING where there is no trace
	Log      string `msgpack:"log,omitempty" json:"log,omitempty"`
}

// OK reports whether nothing keeps the pull request a draft.
func (e *Evaluation) OK() bool {
	return e != nil && (e.Skipped || len(e.Refused) == 0 && e.Passed == e.Of)
}

// Ended reports whether nothing more happens to the pull request by itself.
func (s *PushState) Ended() bool { return s.Failure != nil || s.Step == PushConclude }

// Handled is how many of the collection's workloads are in the pull request or left out of it.
func (s *PushState) Handled() int { return len(s.Workloads) + len(s.Skipped) }

// Kind implements Message.
func (*PushState) Kind() Kind { return KindPushState }

// Validate implements Message.
func (s *PushState) Validate() error {
	if err := checkToken("collection", s.Collection); err != nil {
		return err
	}
	return checkName("definition", s.Definition)
}
