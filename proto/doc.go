// Package proto is the contract between the roles: messages, subjects, streams, states and failure codes. If two roles must
// agree on it, it is here; it imports nothing of ours.
//
// # Who sends what
//
//	subject                                    stream        from         to           acknowledged when
//	tf.submit.<collection>                     TF_SUBMIT     user         coordinator  its record is in the collections bucket
//	tf.tasks.<engine>.<collection>.<task>      TF_TASKS      coordinator  gpuworker    the attempt's end is in the tasks bucket
//	tf.manifests.<coll>.<task>.<att>.<id>      TF_MANIFESTS  gpuworker    sanitizer    the verdict is stored
//	tf.verdicts.<coll>.<task>.<att>.<id>       TF_VERDICTS   sanitizer    publisher    kept: read as a set
//	tf.publish.<coll>.<task>.<index>           TF_PUBLISH    coordinator  publisher    the publication is in its bucket
//	tf.push.<collection>.<index>.<step>        TF_PUSH       coordinator  publisher    the step is in the push's record
//	tf.events.<collection>.<task>              TF_EVENTS     all          user         kept for two weeks
//	tf.dead.<subject without tf.>              TF_DEAD       all          user         kept
//
// # Who owns what
//
// A queue message is work to do, never ownership: JetStream lets a stale holder acknowledge. A task belongs to the attempt
// that wrote the latest running TaskState, by compare-and-set on the key's revision; manifests and verdicts carry the attempt
// in their subject, so that what a stale attempt still sends is never read.
//
// # Wire form
//
// Every message is a msgpack map {v: version, k: kind, b: body}; the body is a map by field name. Unknown fields are
// ignored, another version or kind is a Failure. testdata holds one golden of each message: a difference there is a protocol
// change, and needs a new Version.
package proto
