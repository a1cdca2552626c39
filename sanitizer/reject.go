package sanitizer

import "fmt"

// Reasons for which a call is no workload of a definition. A rejected call is a result, not a failure: it is counted under
// its reason and shown to the user. docs/failure-codes.md has a row for each.
const (
	// The manifest itself. What is wrong with a dump has the codes of proto/defect.go.
	RejectNoDefinition  = "no_definition"  // no definition of the task names this function
	RejectBadManifest   = "bad_manifest"   // the manifest could not be decoded
	RejectUnconverted   = "unconverted"    // every try to convert it failed; its dead letter has the error
	RejectBadDefinition = "bad_definition" // the definition a manifest names is not one

	// Pairing a run with its plan.
	RejectPlanMissing    = "plan_missing"    // no plan of this wrapper was logged before the run
	RejectPlanStale      = "plan_stale"      // a graph replay whose plan was not logged
	RejectPlanUnreadable = "plan_unreadable" // the plan's dump is incomplete or corrupt
	RejectPlanUnordered  = "plan_unordered"  // whether the plan came before the run is not known
	RejectPlanUnlogged   = "plan_unlogged"   // planned with an object whose tensors the logger does not write
	RejectNotImplied     = "not_implied"     // a plan without its runs, which stands for none or does not show all of them

	// Binding arguments to inputs.
	RejectInputMissing  = "input_missing"  // the call has nothing for an input
	RejectScaleConflict = "scale_conflict" // two softmax scales of latent attention where one is expected
	RejectNotTensor     = "not_tensor"     // a number where the definition requires a tensor
	RejectNotScalar     = "not_scalar"     // a tensor or object where the definition requires a number
	RejectNoContent     = "no_content"     // the integer values were not dumped, or not all of them

	// Fitting shapes and types.
	RejectRank              = "rank"               // another number of dimensions
	RejectDType             = "dtype"              // another element type
	RejectConstAxis         = "const_axis"         // a constant axis has another size
	RejectAxisConflict      = "axis_conflict"      // one variable axis, two sizes
	RejectAxisUnsolved      = "axis_unsolved"      // no input shows the size of a variable axis
	RejectAxisZero          = "axis_zero"          // an axis of size 0: the dataset wants positive ones
	RejectPageSize          = "page_size"          // planned with another page size
	RejectFold              = "fold"               // token slots that do not form whole pages
	RejectConstraint        = "constraint"         // a constraint of the definition does not hold
	RejectConstraintUnknown = "constraint_unknown" // a constraint that tracefleet cannot evaluate

	// Values of structural tensors.
	RejectIndptr      = "indptr"        // does not start at 0, falls, or ends at another length than its tensor has
	RejectIndices     = "indices"       // fewer indices than the indptr needs, or one outside its pool
	RejectLastPageLen = "last_page_len" // outside 1..page_size, or not one a request
	RejectKVLen       = "kv_len"        // the lengths given and the pages used disagree
	RejectScalar      = "scalar"        // NaN or infinite

	// Meaning.
	RejectHalfAttention = "half_attention" // one part of an attention that is merged by log-sum-exp
	RejectNotCausal     = "not_causal"     // a non-causal run in a causal definition
	RejectNotDecode     = "not_decode"     // more than one query row a request in a decode definition
	RejectVariant       = "variant"        // another variant of the kernel than the definition states
)

// rejection is why one call is no workload of one definition.
type rejection struct {
	reason string
	detail string
}

func reject(reason, format string, args ...any) *rejection {
	return &rejection{reason: reason, detail: fmt.Sprintf(format, args...)}
}

// Error lets a rejection pass through functions that may also fail; Convert takes it out again.
func (r *rejection) Error() string { return r.reason + ": " + r.detail }
