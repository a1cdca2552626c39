// Package harvest makes dataset definitions of what FlashInfer's trace dump wrote while an engine ran.
//
// # Flow
//
//	trace files (a directory, or a job's tasks) ──ReadDir, FromJob──▶ Files, each with the Evidence of its run
//	Files ──Run (pure)──▶ parse → reference → KV layout → inputs, outputs → evidence → axes → name, tags ──▶ Report
//	Report ──Stage──▶ OUT/definitions/<op_type>/<name>.json, OUT/aside/…, OUT/HARVEST.md, OUT/harvest.json
//
// # Why the tracer's files are not definitions yet
//
// The tracer describes a call by the shapes of its arguments. Where an engine's tensors are laid out otherwise than the template
// expects, the file is well-formed, accepted by validators, and wrong: SGLang's KV pool is [slots, kv_heads, head_dim], which is
// read as pages of kv_heads tokens with head_dim KV heads. Other files name arguments that their reference does not take, have
// element types that no schema knows, or fix an epsilon that the model does not use. So a file is corrected only where its own
// text or a level-10 dump of the same function (the Evidence) says what is right; a file that stays in doubt is set aside.
//
// # Guarantees
//
//   - Nothing is lost silently: each file ends staged, as a duplicate, or set aside with a reason and its original text kept;
//     the three counts add up to the number of files.
//   - Every change is listed with the field, the old and the new value, and why; what could not be checked is listed as a doubt.
//   - What is staged parses as a definition (internal/fitrace), takes exactly the arguments its reference does, in their order,
//     and contradicts no dump that was given.
//   - Run is pure: the same files in any order give the same report.
//   - No Python is run: the reference is scanned by a tokenizer that knows strings, brackets, comments and continuation lines.
//
// # What it does not do
//
// It does not write into a dataset: what is staged is for a person to look at. It does not prove that a reference computes what
// the kernel does; it holds names, shapes, types, constants and scales against what was called.
package harvest
