// Package gpuworker is the role that runs engines and ingests the dumps they write.
//
// # Flow
//
//	take a task message → lease the GPUs it needs → claim its TaskState by compare-and-set (attempt n+1) → run the engine and tail
//	its dump directory at the same time → tensors and manifests stored, dumps deleted → TaskState collected, with counts →
//	acknowledge
//
// worker.go is the loop, claim.go decides on records and is pure, grant.go leases, inwork.go knows what is in hand, attempt.go is
// one attempt, ship.go stores what was read.
//
// # Guarantees
//
//   - A task belongs to the attempt that wrote the latest running TaskState, and to nobody else. Every heartbeat is a
//     compare-and-set; an attempt whose heartbeat meets a conflict stops its engine and drops everything. What it shipped stays
//     under its own attempt's subjects, which nobody reads.
//   - A task runs only while this worker holds the GPUs it needs (see package lease). As many tasks run side by side as there are
//     slots and GPUs; a message whose GPUs do not come free soon is given back, and no more are asked for meanwhile.
//   - Collected is written only after every manifest of the attempt is on the broker's disk, and the message is acknowledged
//     only after that.
//   - A cancelled task's engine is stopped within a second of the record's change.
//   - First signal (soft): no more tasks, those that run are finished. Second (hard): the engines are stopped and the tasks
//     handed back, which burns no retry.
//   - A task ends: each class of failure has its budget (see budget in claim.go), lost attempts included; then TaskState says
//     failed and the message is a dead letter.
//   - What a dead worker left in its work directory is removed by the next one there, and its task is queued again at once.
//
// # What it does not do
//
// A task's ranks are on one node: gangs over nodes are a later issue.
package gpuworker
