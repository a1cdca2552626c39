// Package safetensors reads and writes the safetensors tensor format: eight bytes of little-endian header length, a JSON
// header, the tensors' bytes.
//
// # Flow
//
// Open reads the header with one or two preads and checks all of it; Read then preads one tensor. Dumps hold gigabytes of
// float tensors of which nobody here wants a byte, so nothing is mapped and nothing is read ahead beyond a few kilobytes.
// Write makes a file from tensors in memory, WriteSparse one whose float tensors are holes of full size.
//
// # Guarantees
//
//   - Strict: what ReadHeader accepts has known dtypes, sizes that match shapes, and tensors which fill the data section
//     without hole or overlap. Anything else is a *FormatError naming file, tensor, field and value, never a panic, and never
//     an allocation larger than the file.
//   - As lenient as the reference implementation: unknown fields of a tensor are skipped, __metadata__ may be null, and of a tensor or
//     a key of __metadata__ that appears twice the last counts. A field of a tensor or __metadata__ that appears twice is an error.
//   - Deterministic: equal entries give equal bytes.
//   - Safe for parallel use: any number of files at once, and Read of one file from several goroutines.
//
// # What it does not do
//
// It does not interpret tensors, convert dtypes or byte order, and does not repair damaged files.
package safetensors
