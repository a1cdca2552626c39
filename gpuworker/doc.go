// Package gpuworker is the role that runs engines and eats what they dump.
//
// # Flow
//
//	take a task message → claim its TaskState by compare-and-set (attempt n+1) → lease GPUs → run the engine and tail its dump
//	directory at the same time → tensors and manifests stored, dumps deleted → TaskState collected, with counts → acknowledge
//
// worker.go is the loop, claim.go decides on records and is pure, attempt.go is one attempt, ship.go stores what was read.
//
// # Guarantees
//
//   - A task belongs to the attempt that wrote the latest running TaskState, and to nobody else. Every heartbeat is a
//     compare-and-set; an attempt whose heartbeat meets a conflict stops its engine and drops everything. What it shipped stays
//     under its own attempt's subjects, which nobody reads.
//   - Collected is written only after every manifest of the attempt is on the broker's disk, and the message is acknowledged
//     only after that.
//   - A cancelled task's engine is stopped within a second of the record's change.
//   - First signal (soft): no more tasks, the one in hand is finished. Second (hard): the engine is stopped and the task handed
//     back, which burns no retry.
//   - A task ends: each class of failure has its budget (see budget in claim.go), lost attempts included; then TaskState says
//     failed and the message is a dead letter.
//   - What a dead worker left in its work directory is removed by the next one there, and its task is queued again at once.
//
// # What it does not do
//
// One task at a time: GPU leases side by side come with the GPU inventory (see Leases). Gangs over nodes are a later issue.
package gpuworker
