// Package manifest turns FlashInfer dump directories into manifests: what the sanitizer needs to know of each dumped call,
// without the dump.
//
// # Flow
//
//	Read    one dump directory or graph replay → Dump: the call, its integer tensors, or the defect that prevents both
//	Pairer  Dumps of all processes, each process's in call order → Results: a run with its plan, or why it has none
//	Build   a Result → proto.Manifest, and the bytes of the tensors that are too large to travel in it
//
// # Pairing
//
// A run belongs to the latest plan of the same wrapper object (process, class, and self_id or the object's repr) by call
// order. It is never guessed: where a plan of that object was made and cannot be read, or may have been made, the run has no
// plan, and its PlanNote says why. See pair.go for the rules.
//
// Where only a wrapper's plans are dumped, a plan is a Result itself (Implied): it stands for the runs after it. What was dumped
// before the first request of ours (Early) becomes manifests that say so, and never anybody's plan.
//
// A ragged run of latent attention has no softmax scale in its dumps. If a definition needs it (Origin.Borrows), each ragged Result waits until
// all calls of its process were fed. It then has the scales of the process's paged MLA plans: see scale.go.
//
// # Guarantees
//
//   - Read opens, of all tensors, only the integer and bool ones, and hashes each once.
//   - Every Dump that is no readable plan of a run and no graph capture comes out of the Pairer exactly once, defective ones included.
//   - Pairing depends only on the order of calls within each process: how processes interleave changes nothing.
//   - Nothing here panics on what a dump says; a bad dump is a Defect.
//
// # What it does not do
//
// It does not decide the order of calls (package tail does), does not know definitions, and deletes nothing.
package manifest
