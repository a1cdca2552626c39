package proto

import "time"

// Streams, consumers and buckets as data. internal/bus creates them, idempotently; nothing else names them.

// Stream is a JetStream stream. One that is full refuses new messages, and their senders wait.
type Stream struct {
	Name        string
	Description string
	Subjects    []string
	WorkQueue   bool          // a message leaves when it is acknowledged; else it stays up to the limits
	DropOldest  bool          // a full stream drops its oldest messages instead of refusing new ones
	PerSubject  int64         // most messages a subject; 0: no limit
	MaxAge      time.Duration // 0: for ever
	MaxBytes    int64         // where --stream-max-bytes sets none; 0: no limit
	Share       int64         // of --stream-max-bytes, in percent
}

// Consumer is a durable pull consumer with explicit acknowledgement.
type Consumer struct {
	Stream     string
	Name       string
	Filter     string
	AckWait    time.Duration // a holder reports progress at a third of this
	MaxDeliver int           // deliveries before a message is dead; JetStream itself has no limit, see DESIGN in internal/bus
	MaxPending int           // most messages in work fleet-wide; 0: the server's default
}

// Bucket is a key-value bucket of the latest value of each key.
type Bucket struct {
	Name        string
	Description string
	TTL         time.Duration // 0: for ever
	Share       int64         // of --stream-max-bytes, in percent
}

// ShareTensors is the share of the tensor store; with those of all streams and buckets it makes 100.
const ShareTensors = 25

// Names of streams, consumers and buckets.
const (
	StreamSubmit    = "TF_SUBMIT"
	StreamTasks     = "TF_TASKS"
	StreamManifests = "TF_MANIFESTS"
	StreamVerdicts  = "TF_VERDICTS"
	StreamPublish   = "TF_PUBLISH"
	StreamPush      = "TF_PUSH"
	StreamEvents    = "TF_EVENTS"
	StreamDead      = "TF_DEAD"

	ConsumerCoordinator = "coordinator"
	ConsumerSanitizers  = "sanitizers"
	ConsumerPublisher   = "publisher"
	ConsumerPusher      = "pusher"

	BucketCollections  = "tf_collections"
	BucketTasks        = "tf_tasks"
	BucketPublications = "tf_publications"
	BucketPushes       = "tf_pushes"
	BucketDefinitions  = "tf_definitions"
	BucketWorkers      = "tf_workers"
	BucketLeases       = "tf_leases"
	BucketTensors      = "tf_tensors" // object store
)

// A role announces itself every AnnounceInterval. It counts as connected until its announcement is AnnounceLost old; the announcement is
// deleted AnnounceTTL after the last. A lease is deleted LeaseTTL after it was renewed last.
const (
	AnnounceInterval = 2 * time.Second
	AnnounceLost     = 8 * time.Second
	AnnounceTTL      = 30 * time.Second
	LeaseTTL         = 30 * time.Second
)

// Streams lists every stream.
func Streams() []Stream {
	return []Stream{
		{Name: StreamSubmit, Description: "collections to plan", Subjects: []string{"tf.submit.*"}, WorkQueue: true, PerSubject: 1, Share: 1},
		{Name: StreamTasks, Description: "batch-size tasks", Subjects: []string{"tf.tasks.*.*.*"}, WorkQueue: true, Share: 2},
		{Name: StreamManifests, Description: "dumped calls to convert", Subjects: []string{"tf.manifests.*.*.*.*"}, WorkQueue: true, Share: 20},
		{Name: StreamVerdicts, Description: "candidates and rejections, one message a manifest", Subjects: []string{"tf.verdicts.*.*.*.*"}, PerSubject: 1, Share: 25},
		{Name: StreamPublish, Description: "(task, definition) to publish", Subjects: []string{"tf.publish.*.*.*"}, WorkQueue: true, Share: 1},
		{Name: StreamPush, Description: "steps of pull requests", Subjects: []string{"tf.push.*.*.*"}, WorkQueue: true, Share: 1},
		{
			Name: StreamEvents, Description: "progress and log", Subjects: []string{"tf.events.*.*"}, DropOldest: true, MaxAge: 14 * 24 * time.Hour,
			MaxBytes: 1 << 30, Share: 5,
		},
		{Name: StreamDead, Description: "messages given up, with their failure", Subjects: []string{"tf.dead.>"}, Share: 4},
	}
}

// TaskConsumer names the consumer of the tasks for an engine.
func TaskConsumer(engine EngineKind) string { return "gpuworkers-" + string(engine) }

// Consumers lists every consumer.
func Consumers() []Consumer {
	list := []Consumer{
		{Stream: StreamSubmit, Name: ConsumerCoordinator, Filter: "tf.submit.*", AckWait: 30 * time.Second, MaxDeliver: 5},
		{Stream: StreamManifests, Name: ConsumerSanitizers, Filter: "tf.manifests.>", AckWait: 30 * time.Second, MaxDeliver: 5},
		// One message in work fleet-wide: publications never overlap, whoever runs the publisher.
		{Stream: StreamPublish, Name: ConsumerPublisher, Filter: "tf.publish.>", AckWait: 30 * time.Second, MaxDeliver: 20, MaxPending: 1},
	}
	list = append(list, Consumer{Stream: StreamPush, Name: ConsumerPusher, Filter: "tf.push.>", AckWait: 30 * time.Second, MaxDeliver: 20, MaxPending: 1})
	for _, e := range []EngineKind{EngineSGLang, EngineReplay, EngineSimulate, EngineEvaluate} {
		list = append(list, Consumer{
			Stream: StreamTasks, Name: TaskConsumer(e), Filter: "tf.tasks." + string(e) + ".>", AckWait: 30 * time.Second, MaxDeliver: 20,
		})
	}
	return list
}

// Buckets lists every key-value bucket.
func Buckets() []Bucket {
	return []Bucket{
		{Name: BucketCollections, Description: "CollectionState by collection", Share: 3},
		{Name: BucketTasks, Description: "TaskState by collection.task", Share: 4},
		{Name: BucketPublications, Description: "Publication by collection.task.index", Share: 4},
		{Name: BucketPushes, Description: "PushState by collection.index", Share: 1},
		{Name: BucketDefinitions, Description: "definition JSON by SHA-256", Share: 2},
		{Name: BucketWorkers, Description: "Worker by id", TTL: AnnounceTTL, Share: 1},
		{Name: BucketLeases, Description: "who is the publisher", TTL: LeaseTTL, Share: 1},
	}
}
