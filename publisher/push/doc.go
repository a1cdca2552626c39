// Package push brings what was collected of one definition into a pull request on the Hub, append-only.
//
// # What a pull request holds
//
// The definition, its reference test, the baseline solution, the workloads with their blobs, and, once every workload passed,
// the traces of the baseline. Nothing is deleted and nothing overwritten but our own log: files that are there stay as they are, and to files of lines
// (workloads, traces) lines are added whose workload is not in them yet.
//
// # Order
//
//	blobs and whole files, one commit ──▶ asked for again: size and digest of each blob ──▶ lines, one commit ──▶ the text
//
// so that no line ever refers to a blob that is not there. Each commit names its parent. When somebody else was faster, the
// repository is read again and what is missing is added to what is there now.
//
// # Interrupted
//
// There is no journal: every step is worked out anew from what the repository has, and asks before it writes. A pull request is
// found again by the marker in its text, a commit by the files that it brought. So the end is the same wherever a run was
// interrupted, and nothing is sent twice but the parts of files that were under way.
package push
