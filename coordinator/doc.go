// Package coordinator turns a submission into tasks and sees every task to its end.
//
// # Flow
//
//	selection ──Resolve──▶ definitions ──Submit──▶ TF_SUBMIT ──▶ CollectionState
//	CollectionState ──NewPlan──▶ TaskStates ──queue──▶ gpuworker … collected
//	collected ──every verdict is there──▶ publishing ──Publish, one definition after another──▶ done ──▶ the collection ends
//
// Two sides live here. The user's side (Resolve, Submit, Follow, Jobs, Account) runs in the command that a person typed; the
// role (Coordinator) runs wherever the fleet runs. They share nothing but the records in the key-value buckets.
//
// # Guarantees
//
//   - Planning is pure: the same definitions and the same spec give the same tasks, whatever the order they come in.
//   - The role keeps nothing that it could lose. Each round reads the records of a collection, decides (decide.go, pure) and
//     applies the steps by compare-and-set; killed between any two of them, the next round finds the rest to do. Two
//     coordinators at once do the same work twice and reach the same end.
//   - A definition's batches are published in planned order: batch i is handed to the publisher only when batch i-1 of that
//     definition ended, so the dataset does not depend on which worker was faster.
//   - A task closes only when every manifest of its counted attempt has a verdict. Account adds up: what is in none of the
//     classes is shown as pending, never dropped.
//
// # What it does not do
//
// It runs no engine, reads no dump and writes no dataset. It does not own tasks: a running task belongs to the attempt that
// wrote its record, and the coordinator takes one back only when its heartbeat is dead and its queue message is gone, or when
// the user cancels.
package coordinator
