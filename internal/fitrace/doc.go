// Package fitrace reads and writes the flashinfer-trace dataset schema: kernel definitions and workload lines.
//
//	DIR/definitions/<op_type>/<name>.json                      LoadDefinitions, ParseDefinition
//	DIR/workloads/<op_type>/<name>.jsonl                       ParseLines, MarshalLine
//	DIR/blob/workloads/<op_type>/<name>/<name>_<uuid>.safetensors   BlobPath
//
// The schema's truth is flashinfer-bench's data models (data/definition.py, data/workload.py); this package accepts what
// they accept, with three differences, all of them stricter: a JSON key given twice, an axis whose type and value contradict
// each other, and a name that could not be a path component are errors. Order is kept everywhere, since it is part of a
// definition's interface and of a line's bytes.
//
// Guarantees: nothing here panics on input; an error names the file and the field; parsing the line MarshalLine wrote gives
// the line back. It does not run Python: of a definition's reference it checks only that it has a top-level run function, and
// of a constraint it evaluates the expressions Expr documents and says so of any other.
package fitrace
