package proto

import "time"

// Streams, consumers and buckets as data. internal/bus creates them, idempotently; nothing else names them.

// Stream is a JetStream stream.
type Stream struct {
	Name        string
	Description string
	Subjects    []string
	WorkQueue   bool          // a message leaves when it is acknowledged; else it stays up to the limits
	PerSubject  int64         // most messages a subject; 0: no limit
	MaxAge      time.Duration // 0: for ever
	MaxBytes    int64         // 0: no limit; over it the oldest go
}

// Consumer is a durable pull consumer with explicit acknowledgement.
type Consumer struct {
	Stream     string
	Name       string
	Filter     string
	AckWait    time.Duration // a holder says that it is alive at a third of this
	MaxDeliver int           // deliveries before a message is dead; JetStream itself is told no limit, see DESIGN in internal/bus
	MaxPending int           // most messages in work fleet-wide; 0: the server's default
}

// Bucket is a key-value bucket of the latest value each.
type Bucket struct {
	Name        string
	Description string
	TTL         time.Duration // 0: for ever
}

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

// WorkerTTL is how long an announcement lives without being renewed.
const WorkerTTL = 30 * time.Second

// Streams lists every stream.
func Streams() []Stream {
	return []Stream{
		{Name: StreamSubmit, Description: "collections to plan", Subjects: []string{"tf.submit.*"}, WorkQueue: true, PerSubject: 1},
		{Name: StreamTasks, Description: "batch-size tasks", Subjects: []string{"tf.tasks.*.*.*"}, WorkQueue: true},
		{Name: StreamManifests, Description: "dumped calls to convert", Subjects: []string{"tf.manifests.*.*.*.*"}, WorkQueue: true},
		{Name: StreamVerdicts, Description: "candidates and rejections, one message a manifest", Subjects: []string{"tf.verdicts.*.*.*.*"}, PerSubject: 1},
		{Name: StreamPublish, Description: "(task, definition) to publish", Subjects: []string{"tf.publish.*.*.*"}, WorkQueue: true},
		{Name: StreamPush, Description: "steps of pull requests", Subjects: []string{"tf.push.*.*.*"}, WorkQueue: true},
		{Name: StreamEvents, Description: "progress and log", Subjects: []string{"tf.events.*.*"}, MaxAge: 14 * 24 * time.Hour, MaxBytes: 1 << 30},
		{Name: StreamDead, Description: "messages given up, with their failure", Subjects: []string{"tf.dead.>"}},
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
		{Name: BucketCollections, Description: "CollectionState by collection"},
		{Name: BucketTasks, Description: "TaskState by collection.task"},
		{Name: BucketPublications, Description: "Publication by collection.task.index"},
		{Name: BucketPushes, Description: "PushState by collection.index"},
		{Name: BucketDefinitions, Description: "definition JSON by SHA-256"},
		{Name: BucketWorkers, Description: "Worker by id", TTL: WorkerTTL},
		{Name: BucketLeases, Description: "who is the publisher", TTL: WorkerTTL},
	}
}
