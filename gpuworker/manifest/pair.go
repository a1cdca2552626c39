package manifest

import (
	"github.com/tracefleet/tracefleet/proto"
)

// Result is a Dump that becomes a manifest, with what pairing found out about it.
type Result struct {
	Dump   *Dump
	Plan   *Dump          // the plan it belongs to; nil if it needs none, or Note says why there is none
	Note   proto.PlanNote // also set beside a Plan that is there and cannot be used (unlogged_meta)
	Beside proto.Beside
	// Implied: Dump is a plan that stands for the runs after it.
	Implied bool
	// Scales holds the distinct softmax scales of the process's paged MLA plans, if Dump is a ragged call of an Origin that Borrows.
	Scales []float64
	scaled bool // Scales is set
}

// Pairer pairs each run with its plan. Pass it the Dumps of each process in call order; processes may interleave in any way.
//
// # Rules
//
//   - The wrapper object is process, class and self_id (or the object's repr where the logger wrote no id). Ids are used
//     again after an object died, so an object of another class under the same id ends what was known of the first, and so
//     does a logged __init__.
//   - A run takes the latest plan of its object that was fed before it, however many runs (layers) did so already.
//   - A replay of a CUDA graph takes only a plan made since the capture and since the replay before of the same captured call:
//     an older one is the dummy of the capture, or was used up. So an unlogged plan (SGLang's fast_decode_plan) leaves the
//     run stale. An eager run on an object that was captured since its last plan is stale for the same reason.
//   - A plan of the object that cannot be read makes its runs unreadable until the next plan. If not even the object is
//     known (no metadata), or the call numbers show that plan calls of the class are not in the dump directory at all, that
//     holds for every object of the class: any of them may have been planned again. Gaps in the numbers of runs mean nothing.
//     A plan that the session log names and the directory lacks (Lost) ends the one before it at its own place. Where no log
//     tells the place, a gap in a directory that is complete (Scan) also ends the plans before it, since the missing plan may
//     have been made right after them. While an engine runs it shows only when the next plan of the class is seen; but FlashInfer leaves
//     such gaps at its size limit only, which the engine sets out of reach: at its count limit all dumps of a process end.
//   - Where a plan and a run are of the same millisecond and the session log has no line of one of them, the run is unordered;
//     and so is a replay that the log lacks, or that follows a replay which is not there and may have used up the plan.
//   - A run whose plan was made before the first request of the traffic is no workload: it has no plan (early).
//   - A plan of the classes of which only plans are dumped is a Result itself. It still serves runs, should there be any.
//   - A call number that does not rise means that the pid is another process's now: all objects are forgotten.
//
// A Pairer is not safe for parallel use. It holds the latest plan of each object, and with Origin.Borrows the ragged runs of each process.
type Pairer struct {
	processes map[int64]*process
	borrows   bool
}

// NewPairer returns a Pairer that has seen nothing.
func (o *Origin) NewPairer() *Pairer {
	return &Pairer{processes: make(map[int64]*process), borrows: o.Borrows}
}

// Step is the result of feeding a Dump.
type Step struct {
	Ready []Result // in call order; the dump fed may come only with a later step, see beside.go and scale.go
	Done  []*Dump  // plans that no later run can take, the one fed among them if it cannot serve at all
	Err   error    // a *proto.Failure: what was Ready before is wrong
}

type process struct {
	position int64 // number of dumps fed
	borrows  bool  // scales is used
	scales   scales
	objects  map[string]*object
	last     map[string]int64 // function → latest call number
	captures map[string]replays
	beside   beside
	newest   string // largest timestamp of the calls fed
}

func newProcess(position int64, borrows bool) *process {
	return &process{
		position: position, borrows: borrows, last: make(map[string]int64), objects: make(map[string]*object), captures: make(map[string]replays),
	}
}

// replays is what was seen of a call captured in a graph.
type replays struct {
	at   int64 // position of the capture or the latest replay
	last int   // number of the latest replay
}

// object is a wrapper, as far as its calls are logged.
type object struct {
	class    string
	plan     *Dump // nil: none, or Note says why it does not count
	planned  int64 // position of plan
	captured int64 // position of the latest capture of one of its runs
	note     proto.PlanNote
}

// Feed takes the next call of its process.
func (p *Pairer) Feed(d *Dump) Step {
	proc := p.process(d.Call.PID)
	step := proc.feed(d)
	if p.borrows {
		step.Err = proc.scales.see(d)
		proc.scales.hold(&step)
	}
	return step
}

func (p *Pairer) process(pid int64) *process {
	proc := p.processes[pid]
	if proc == nil {
		proc = newProcess(0, p.borrows)
		p.processes[pid] = proc
	}
	return proc
}

func (p *process) feed(d *Dump) Step {
	var step Step
	if d.Call.Flush == 0 {
		p.checkNumber(d, &step)
	}
	p.position++
	if d.Call.Flush == 0 && d.Call.Timestamp > p.newest {
		p.newest = d.Call.Timestamp
	}
	switch {
	case isPlan(d.Call.Function):
		p.plan(d, &step)
		if d.Role == Implied {
			return step // its Result follows what waited before it
		}
	case isInit(d.Call.Function):
		p.forgetObject(d, &step)
		step.Ready = p.beside.next(Result{Dump: d}, p.position, -1, step.Ready)
		return step
	case d.Role == Capture:
		p.capture(d, &step)
	case d.Role == Run:
		r := Result{Dump: d}
		planned := int64(-1)
		if d.Defect == nil && needsPlan(d.Call.Function) {
			planned = p.pair(&r, &step)
		}
		if d.Call.Flush > 0 {
			p.captures[d.Call.Dump] = replays{p.position, d.Call.Flush}
		} else if d.Defect != nil { // it may have been a capture
			p.captures[d.Call.Dump] = replays{at: p.position}
		}
		step.Ready = p.beside.next(r, p.position, planned, step.Ready)
		return step
	}
	step.Ready = p.beside.release(step.Ready)
	return step
}

// Close returns the Results that waited for other calls of their process, and every plan still held.
func (p *Pairer) Close() Step {
	var step Step
	for _, pid := range sortedKeys(p.processes) {
		var own Step
		p.processes[pid].forget(&own)
		step.Ready, step.Done = append(step.Ready, own.Ready...), append(step.Done, own.Done...)
	}
	clear(p.processes)
	return step
}

// Release returns the Results of a process that wait for other calls: for when there is no room for their dumps. Those that need a softmax
// scale are among them only if one was seen.
func (p *Pairer) Release(pid int64) Step {
	var step Step
	proc := p.processes[pid]
	if proc == nil {
		return step
	}
	step.Ready = proc.beside.release(nil)
	if p.borrows {
		proc.scales.hold(&step)
		if len(proc.scales.seen) > 0 && len(proc.scales.held) > 0 {
			proc.scales.released = true
			proc.scales.release(&step)
		}
	}
	return step
}

// Lost records that a plan call was made after the calls fed so far whose dump is not in the directory: what it planned is not known,
// so the plan before it serves no run any more. selfID is empty where the object is not known, which holds for all of its class.
func (p *Pairer) Lost(pid int64, function, selfID string, sequence int64) Step {
	proc := p.process(pid)
	var step Step
	proc.position++
	if sequence > proc.last[function] {
		proc.last[function] = sequence // the next plan follows this one: no other is missing
	}
	if class, _ := method(function); selfID == "" {
		proc.distrust(class, &step)
	} else {
		call := &Dump{Call: proto.Call{Function: function, SelfID: selfID}}
		proc.object(call, &step).replace(nil, proc.position, proto.PlanUnreadable, &step)
	}
	if p.borrows {
		proc.scales.hold(&step)
	}
	return step
}

func (p *process) forget(step *Step) {
	step.Ready = p.beside.release(step.Ready)
	for _, id := range sortedKeys(p.objects) {
		if o := p.objects[id]; o.plan != nil {
			step.Done = append(step.Done, o.plan)
		}
	}
	if p.borrows {
		p.scales.hold(step)
		p.scales.release(step)
	}
	*p = *newProcess(p.position, p.borrows)
}

// checkNumber watches the call numbers of each function.
func (p *process) checkNumber(d *Dump, step *Step) {
	last, seen := p.last[d.Call.Function]
	if seen && d.Call.Sequence <= last {
		p.forget(step)
		seen = false
	}
	p.last[d.Call.Function] = d.Call.Sequence
	if seen && d.Call.Sequence > last+1 && isPlan(d.Call.Function) {
		class, _ := method(d.Call.Function)
		p.distrust(class, step)
	}
}

// distrust ends every plan of a class: one that is not known came after it.
func (p *process) distrust(class string, step *Step) {
	for _, id := range sortedKeys(p.objects) {
		if o := p.objects[id]; o.class == class {
			o.replace(nil, p.position, proto.PlanUnreadable, step)
		}
	}
	if p.objects[unknownPrefix+class] == nil { // stands for the objects of the class not seen yet
		p.objects[unknownPrefix+class] = &object{class: class, note: proto.PlanUnreadable}
	}
}

// unknownPrefix marks the entry that stands for the objects of a class of which nothing was logged but a lost plan.
const unknownPrefix = "\x00"

// forgetObject ends what was known of the object that had the id of one which is made now.
func (p *process) forgetObject(d *Dump, step *Step) {
	if o := p.objects[d.Call.SelfID]; o != nil && d.Call.SelfID != "" {
		o.replace(nil, 0, proto.PlanNone, step)
		delete(p.objects, d.Call.SelfID)
	}
}

func (o *object) replace(plan *Dump, position int64, note proto.PlanNote, step *Step) {
	if o.plan != nil {
		step.Done = append(step.Done, o.plan)
	}
	o.plan, o.planned, o.note = plan, position, note
}

// object gives the object a call was made on, as new if it is not known or of another class now.
func (p *process) object(d *Dump, step *Step) *object {
	class, _ := method(d.Call.Function)
	o := p.objects[d.Call.SelfID]
	if o != nil && o.class != class {
		o.replace(nil, 0, proto.PlanNone, step)
		o = nil
	}
	if o == nil {
		o = &object{class: class, note: proto.PlanMissing}
		if lost := p.objects[unknownPrefix+class]; lost != nil {
			o.note = lost.note
		}
		p.objects[d.Call.SelfID] = o
	}
	return o
}

func (p *process) plan(d *Dump, step *Step) {
	class, _ := method(d.Call.Function)
	note := proto.PlanNone
	if d.Unlogged {
		note = proto.PlanUnloggedMeta
	}
	readable := d.Defect == nil && (d.Role == Plan || d.Role == Implied)
	switch {
	case d.Early && d.Call.SelfID != "":
		p.object(d, step).replace(nil, p.position, proto.PlanEarly, step)
	case readable && d.Call.SelfID != "":
		p.object(d, step).replace(d, p.position, note, step)
	case d.Call.SelfID != "": // damaged, or captured in a graph: its values are in no dump
		p.object(d, step).replace(nil, p.position, proto.PlanUnreadable, step)
	default:
		p.distrust(class, step)
	}
	if d.GapAfter {
		p.distrust(class, step)
	}
	if readable && (d.Call.SelfID == "" || d.Early) {
		step.Done = append(step.Done, d)
	}
	if d.Role == Implied {
		step.Ready = append(p.beside.release(step.Ready), Result{Dump: d, Note: note, Implied: true})
	}
	if d.Role == Run {
		step.Ready = p.beside.next(Result{Dump: d}, p.position, -1, step.Ready)
	}
}

func (p *process) capture(d *Dump, step *Step) {
	p.captures[d.Call.Dump] = replays{at: p.position}
	if needsPlan(d.Call.Function) && d.Call.SelfID != "" {
		p.object(d, step).captured = p.position
	}
}

// pair finds r's plan and gives its position, -1 without one.
func (p *process) pair(r *Result, step *Step) int64 {
	d := r.Dump
	if d.Call.SelfID == "" {
		r.Note = proto.PlanMissing
		return -1
	}
	o := p.object(d, step)
	if o.plan == nil {
		r.Note = o.note
		return -1
	}
	since, gap := o.captured, false
	if d.Call.Flush > 0 {
		seen, ok := p.captures[d.Call.Dump]
		since, gap = seen.at, !ok || d.Call.Flush != seen.last+1
	}
	switch {
	case o.planned < since:
		r.Note = proto.PlanStale
		return -1
	case gap, d.Loose && d.Call.Flush > 0,
		o.plan.Loose && o.plan.Call.Timestamp == p.newest,
		d.Loose && o.plan.Call.Timestamp == d.Call.Timestamp:
		r.Note = proto.PlanUnordered
		return -1
	}
	r.Plan, r.Note = o.plan, o.note
	return o.planned
}
