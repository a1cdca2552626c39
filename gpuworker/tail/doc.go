// Package tail ingests a dump directory while an engine fills it: it finds the calls that are finished, reads them in call order,
// ships a manifest for each, and deletes what is stored.
//
// # Flow
//
//	list the directory → see how far each dump has come (its own metadata.jsonl) → order each process's calls
//	→ read those whose turn it is (package manifest) → pair → Ship, several at once → delete what Ship stored
//
// Tailer does that over a live directory, Scan once over one that no one writes to; both are the same steps.
//
// # When it is a call's turn
//
// Calls of one process come one after the other. A call is read when it is finished (completed, or captured in a graph) or
// can get no further (the process made a newer call at least Grace ago, or the engine ended), and when all earlier calls of its
// process were read. A directory that appears while a listing is under way may be missing from it though a newer one is in
// it; so a dump counts as known only when a later listing has begun, which has every older one.
//
// # What came before traffic
//
// An engine that makes calls of its own first (Options.Warmup) calls Begin when it is about to serve. What was there by then is
// shipped as before_traffic, counted, and plans nothing that comes after; replays are told apart from the captures they lie below.
// Spent says when FlashInfer's budget of dumps is used up, which no call of ours can refill.
//
// # Guarantees
//
//   - A dump is deleted only after Ship returned nil for its manifest; a plan's only after no later run can take it and every
//     manifest that carries it is stored; a graph capture's only after the engine ended, since replays write below it.
//   - Every dump directory and replay is in the counts once: Dumps = Manifests + Plans + Captures. (A directory that FlashInfer
//     makes and removes again at its size limit, without ever writing a record, is no dump.)
//   - Only files that FlashInfer names are deleted, below the dump directory, and no symbolic link is followed. A directory
//     that holds anything else stays, and a warning says so.
//   - Memory holds what is in flight, the latest plan of each wrapper object, and for definitions that borrow their softmax scale
//     (manifest.Origin.Borrows) the descriptions of the ragged runs, until the engine ended or the quota is reached.
//
// # What it does not do
//
// It does not start, pause or stop the engine: Gate and Options.Pressure tell when there is no room. It publishes nothing by
// itself, and does not use inotify, which shared file systems do not have: it polls, from milliseconds when dumps come to a
// quarter of a second when none do.
package tail
