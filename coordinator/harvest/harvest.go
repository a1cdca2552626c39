package harvest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// File is one file that the tracer wrote, with what is known of the run it was written in.
type File struct {
	Source   string    // where it is, as reports name it
	Data     []byte    // its content
	Err      error     // it could not be read
	Evidence *Evidence // nil: no dump of that run is at hand
	TP, EP   int       // ranks of the run; 0: not known
	Models   []string  // for model: tags
	PageSize int       // --page-size the server ran with; 0 or 1: none
}

// Reasons why a file is set aside.
const (
	ReasonUnreadable   = "unreadable"      // not a whole file of the tracer
	ReasonNoReference  = "no_reference"    // the tracer has no reference for the function
	ReasonNoOutputs    = "no_outputs"      // nothing is returned that was not given
	ReasonBadReference = "bad_reference"   // the reference cannot become a function run
	ReasonHelpers      = "missing_helpers" // the reference uses functions which the file does not have
	ReasonKVLayout     = "kv_layout"       // the KV cache is laid out in a way the axes do not describe
	ReasonNoEvidence   = "no_evidence"     // only a dump could tell what is true, and none is at hand
	ReasonDisagrees    = "dumps_disagree"  // the dumps of the function show something else
	ReasonArguments    = "arguments"       // inputs and parameters of the reference do not meet
	ReasonDType        = "dtype"           // an element type that the schema does not have, that nothing tells, or that is not what is returned
	ReasonAxis         = "axis"            // an axis without a value, or that no input has
	ReasonPartialPages = "partial_pages"   // pages of several tokens, and no input says how full the last one is
	ReasonHalf         = "half_attention"  // the calls were the non-causal half of an attention
	ReasonIgnored      = "ignored"         // the calls pass what changes the result and the reference does not take
	ReasonEpsilon      = "epsilon"         // calls under one name have several epsilons
	ReasonNameTaken    = "name_taken"      // another definition has the name already
	ReasonInvalid      = "invalid"         // what came out is no definition
)

// aside is why a file cannot become a definition.
type aside struct{ reason, detail string }

func (a *aside) Error() string { return a.reason + ": " + a.detail }

func asideFor(reason, format string, args ...any) error {
	return &aside{reason, fmt.Sprintf(format, args...)}
}

// work is one file on its way.
type work struct {
	file    *File
	dataset *dataset
	t       *trace
	ref     *reference
	api     fitrace.API
	tag     string      // the file's fi_api:
	runs    []namedCall // calls that this definition describes, as far as dumps have them
	plans   []namedCall // plans of its wrapper, likewise
	dumped  bool        // there are dumps of the function at all
	edits   []edit      // of the reference
	assumed []string    // optional inputs that were dropped on no evidence
	epsFrom string      // the epsilon that was corrected, as the reference writes it
	epsTo   string
	epsSeen bool // a dump says what the epsilon is

	changes []Change
	doubts  []string
	notes   []string
}

func (w *work) change(field, from, to, why string, args ...any) {
	w.changes = append(w.changes, Change{Field: field, From: from, To: to, Why: fmt.Sprintf(why, args...)})
}

func (w *work) doubt(format string, args ...any) {
	w.doubts = append(w.doubts, fmt.Sprintf(format, args...))
}

func (w *work) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// Run makes definitions of files, against those of a dataset. It is pure, and the report does not depend on the order of files.
func Run(files []File, definitions []*fitrace.Definition) *Report {
	files = slices.Clone(files)
	slices.SortStableFunc(files, func(a, b File) int {
		if c := strings.Compare(a.Source, b.Source); c != 0 {
			return c
		}
		return strings.Compare(string(a.Data), string(b.Data))
	})
	set := newDataset(definitions)
	results := make([]*result, len(files))
	for i := range files {
		results[i] = normalise(&files[i], set)
	}
	return settle(results, set)
}

// result is what became of one file before it was held against the dataset and the other files.
type result struct {
	file  *File
	entry Entry
	t     *trace
	def   *fitrace.Definition
	json  []byte
	eps   string // the epsilon its reference has, where a dump says that it is right
}

// normalise makes one file a definition, or says why it cannot.
func normalise(f *File, set *dataset) *result {
	w := &work{file: f, dataset: set}
	res := &result{file: f}
	err := w.all()
	if err == nil {
		res.json = render(w.t)
		res.def, err = fitrace.ParseDefinition(res.json, w.t.name)
		if err != nil {
			err = &aside{ReasonInvalid, err.Error()}
		}
	}
	res.entry = Entry{Source: f.Source, Status: Staged, Changes: w.changes, Doubts: w.doubts, Notes: w.notes}
	if w.t != nil {
		res.t = w.t
		res.entry.Name, res.entry.OpType = w.t.name, w.t.opType
	}
	var why *aside
	if errors.As(err, &why) {
		res.entry.Status, res.entry.Reason, res.entry.Detail = SetAside, why.reason, why.detail
		return res
	}
	if w.epsSeen {
		res.eps = w.epsilonText()
	}
	return res
}

// all makes the steps, in an order in which each finds what it builds on.
func (w *work) all() error {
	if w.file.Err != nil {
		return asideFor(ReasonUnreadable, "%v", w.file.Err)
	}
	t, err := parseTrace(w.file.Data)
	if err != nil {
		return asideFor(ReasonUnreadable, "%v", err)
	}
	w.t = t
	for _, step := range []func() error{
		w.whole, w.readAPI, w.reference, w.kvLayout, w.match, w.outputs, w.inputs, w.types, w.axes, w.meaning, w.epsilon, w.rename, w.tags,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	w.finish()
	return nil
}

// whole refuses what can never be a definition.
func (w *work) whole() error {
	plan := ""
	if strings.Contains(w.t.name, "_plan_") {
		plan = " (a plan call: it prepares a run and computes nothing)"
	}
	switch {
	case len(w.t.outputs) == 0:
		return asideFor(ReasonNoOutputs, "outputs is empty%s", plan)
	case strings.TrimSpace(w.t.reference) == "":
		return asideFor(ReasonNoReference, "FlashInfer's template for it has no reference%s", plan)
	}
	if len(w.t.dropped) > 0 {
		w.change(strings.Join(w.t.dropped, ", "), "", "", "dropped: a definition has no such keys")
	}
	return nil
}

func (w *work) readAPI() error {
	for _, tag := range w.t.tags {
		if path, ok := strings.CutPrefix(tag, "fi_api:"); ok {
			w.tag, w.api = path, fitrace.ParseAPI(path)
			return nil
		}
	}
	w.doubt("it has no fi_api: tag, so no dump can be told to be of it")
	return nil
}

// reference finds the function of the reference and calls it run.
func (w *work) reference() error {
	ref, err := readReference(w.t.reference)
	if err != nil {
		return asideFor(ReasonBadReference, "reference %v", err)
	}
	w.ref = ref
	if w.edits, err = ref.rename(); err != nil {
		return asideFor(ReasonBadReference, "reference %v", err)
	}
	if missing := ref.undefined(); len(missing) > 0 {
		imports, ok := ref.importing(missing)
		if !ok {
			return asideFor(ReasonHelpers, "reference uses %s, which it neither defines nor imports", strings.Join(missing, ", "))
		}
		w.edits = append(w.edits, imports)
		w.change("reference", "", "import "+strings.Join(missing, ", "), "added: it uses what it does not import")
	}
	if ref.name != entryPoint {
		w.change("reference", ref.name, entryPoint, "the schema calls a reference's function run; this is its last one at top level")
	}
	return nil
}

// finish writes the corrected reference and what it says of the epsilon.
func (w *work) finish() {
	w.t.reference = apply(w.ref.src, w.edits)
	if w.epsFrom != "" {
		fixed := func(s string) string {
			return strings.ReplaceAll(s, "psilon is fixed at "+w.epsFrom, "psilon is fixed at "+w.epsTo)
		}
		w.t.reference, w.t.description = fixed(w.t.reference), fixed(w.t.description)
	}
}
