package fitrace

// Paths are slash-separated and relative to the dataset's root; callers check names with CheckName first.

// DefinitionPath is where a definition lives.
func DefinitionPath(opType, name string) string {
	return "definitions/" + opType + "/" + name + ".json"
}

// WorkloadsPath is where a definition's workloads live.
func WorkloadsPath(opType, name string) string { return "workloads/" + opType + "/" + name + ".jsonl" }

// ProvenancePath returns the path of the provenance of a definition's workloads. Loaders of flashinfer-trace datasets do not walk
// provenance/; they do walk workloads/ and traces/.
func ProvenancePath(opType, name string) string {
	return "provenance/" + opType + "/" + name + ".jsonl"
}

// BlobDir is where the blobs of a definition's workloads live.
func BlobDir(opType, name string) string { return "blob/workloads/" + opType + "/" + name }

// BlobPath is the blob of one workload, as its line refers to it: with a leading "./".
func BlobPath(opType, name, uuid string) string {
	return "./" + BlobDir(opType, name) + "/" + name + "_" + uuid + ".safetensors"
}
