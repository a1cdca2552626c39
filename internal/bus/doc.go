// Package bus is everything the roles do with NATS: connect, or bring the broker along; create what proto declares; publish,
// consume, keep records, follow events.
//
// # Flow
//
//	StartEmbedded / Connect → Ensure → Publish, PublishAsync → Consume → ack | retry | dead letter
//	                                   OpenRecord: Get, Create, Update (compare-and-set), Watch
//	                                   CountSubjects, ReadSet, ReadStream, Event, Follow
//
// # Guarantees
//
//   - What Publish, Pending.Wait, Create, Update and Put report as stored is on the broker's disk: the embedded server syncs
//     every write, and a server of the user's own should (docs/operations).
//   - A message is delivered until its handler returns nil, or until it is dead; a dead message is in TF_DEAD with its
//     failure before it leaves its queue. No message loops for ever, no message waits in a stream that nobody reads.
//   - Update changes a record only if nobody else did since it was read; the loser gets ErrConflict.
//   - A broker that goes away is waited for: connections, consumers and watches come back by themselves.
//   - What a broker refuses until a person changes something is an error; on a Patient Bus it is reported once and waited for.
//
// # What it does not do
//
// An acknowledgement is not ownership (see DESIGN.md): handlers may run twice, at the same time, and must key their effects.
// Messages are not ordered across redeliveries. Events are fire and forget.
package bus
