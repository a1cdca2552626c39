// Package judge decides whether definitions of a dataset may be published, before anything is.
//
// # Flow
//
//	Check        the dataset's files → findings, by rules in Go: always
//	RunValidate  flashinfer-bench's own validator, where a Python with it is there → the same kind of findings
//	Report       Refuses() stops a publication, a skip leaves one workload out of it; warnings go into the pull request's text
//
// [Rules] lists every rule of Check with its severity. They are of five kinds: what `flashinfer-bench validate` calls an error and
// needs no GPU for (layout, definition, workload, solution, trace, baseline); what SOL-ExecBench's loader refuses besides (the exact
// element type and shape of every tensor); what makes a workload compute something else or crash (values: prefix sums, indices,
// lengths, constraints); what provenance/ must be (provenance); and what reviewers reject as not taken from real traffic (real).
//
// # Guarantees
//
//   - Nothing in the dataset is taken on trust: files are read again, tensors too.
//   - A finding names definition, workload, file, field and value. One fault may give several, one rule gives one a field.
//   - The same files give the same report. Check writes nothing, and RunValidate writes into a temporary directory only.
//   - Where Check and flashinfer-bench disagree, Check is the stricter. The one exception is Python: Check sees that brackets,
//     strings and indentation fit and that there is a function run, not that the reference is Python. RunValidate does.
//
// # What it does not do
//
// It runs no reference and no solution, and knows no Hub: what a repository has already is given to it. It does not know what of
// the dataset is new; [Report.Excuse] turns what was found in the lines of others into warnings.
package judge
