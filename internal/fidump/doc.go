// Package fidump reads, and for simulation and tests writes, the directories that FlashInfer's API logging leaves at level 10.
//
// # The format
//
// One directory per call, {YYYYmmdd_HHMMSS_mmm}_pid{pid}_{function}_call{number}: metadata.jsonl, to which the logger appends
// a record when the inputs are on disk (inputs_saved) and again when the call has returned (completed); inputs.safetensors, or
// inputs.pt, which is a zip with a pickle; outputs likewise. A call captured in a CUDA graph stays pending; each replay writes
// graph_flushes/flush_XXXX below it. Every record of every process is also appended, without a lock, to session.jsonl beside
// the directories.
//
// # Flow
//
// List gives the directories, ReadRecord the state and arguments of one, OpenInputs its tensors, of which the caller reads
// those it wants. Session gives the order in which calls were logged where their own times do not tell.
//
// # Guarantees
//
//   - Only complete lines count: a half-written record is a state, never an error and never half a record.
//   - No float tensor is read, nothing in a pickle is executed, and no claim of a file about sizes is believed before it was
//     held against the file: bad input gives an error that names file and field, not a panic and not a large allocation.
//   - int, float and bool arguments stay apart, as Python's json keeps them.
//   - Everything but one Session is safe for parallel use.
//
// # What it does not do
//
// It does not know what arguments mean, does not pair plans with runs, does not watch and does not delete.
package fidump
