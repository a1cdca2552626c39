package proto

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// matches is NATS's matching of a subject, or of a filter that is to lie inside another.
func matches(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		switch {
		case token == ">":
			return len(s) > i
		case i >= len(s) || s[i] == ">" || (token != "*" && token != s[i]):
			return false
		}
	}
	return len(f) == len(s)
}

// overlap reports whether a subject can match both filters.
func overlap(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := 0; i < len(x) && i < len(y); i++ {
		switch {
		case x[i] == ">" || y[i] == ">":
			return true
		case x[i] != "*" && y[i] != "*" && x[i] != y[i]:
			return false
		}
	}
	return len(x) == len(y)
}

func stream(t *testing.T, name string) Stream {
	t.Helper()
	for _, s := range Streams() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no stream %s", name)
	return Stream{}
}

func TestSubjects_FallInTheirStreams(t *testing.T) {
	t.Parallel()
	for subject, name := range map[string]string{
		SubmitSubject("c-1"):                       StreamSubmit,
		TaskSubject(EngineReplay, "c-1", "t000"):   StreamTasks,
		ManifestSubject("c-1", "t000", 1, "m"):     StreamManifests,
		VerdictSubject("c-1", "t000", 1, "m"):      StreamVerdicts,
		PublishSubject("c-1", "t000", 0):           StreamPublish,
		EventSubject("c-1", ""):                    StreamEvents,
		EventSubject("c-1", "t000"):                StreamEvents,
		DeadSubject(PublishSubject("c-1", "t", 0)): StreamDead,
	} {
		var in []string
		for _, s := range Streams() {
			for _, filter := range s.Subjects {
				if matches(filter, subject) {
					in = append(in, s.Name)
				}
			}
		}
		require.Equal(t, []string{name}, in, subject)
	}
	require.True(t, matches(VerdictPrefix("c-1", "t000", 1)+">", VerdictSubject("c-1", "t000", 1, "m")))
	require.False(t, matches(VerdictPrefix("c-1", "t000", 1)+">", VerdictSubject("c-1", "t000", 11, "m")), "attempt 11 is not attempt 1")
	require.True(t, matches(EventFilter("c-1"), EventSubject("c-1", "")))
}

func TestConsumers_FitTheirStreams(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	filters := map[string][]string{}
	for _, c := range Consumers() {
		require.False(t, names[c.Stream+c.Name], "%s declared twice", c.Name)
		names[c.Stream+c.Name] = true
		s := stream(t, c.Stream)
		inside := false
		for _, subject := range s.Subjects {
			inside = inside || overlap(c.Filter, subject)
		}
		require.True(t, inside, "%s takes nothing of %s", c.Name, c.Stream)
		require.Positive(t, c.AckWait, c.Name)
		require.Greater(t, c.MaxDeliver, 1, c.Name)
		require.True(t, s.WorkQueue, "%s consumes %s, which is no queue", c.Name, c.Stream)
		for _, other := range filters[c.Stream] {
			require.False(t, overlap(other, c.Filter), "%s: %s and %s overlap, which a work queue refuses", c.Stream, other, c.Filter)
		}
		filters[c.Stream] = append(filters[c.Stream], c.Filter)
	}
	// Every message of every queue has a taker.
	for _, e := range []EngineKind{EngineSGLang, EngineReplay, EngineSimulate} {
		taken := 0
		for _, c := range Consumers() {
			if matches(c.Filter, TaskSubject(e, "c-1", "t000")) {
				require.Equal(t, TaskConsumer(e), c.Name)
				taken++
			}
		}
		require.Equal(t, 1, taken, e)
	}
	for _, s := range Streams() {
		require.Equal(t, s.WorkQueue, len(filters[s.Name]) > 0, s.Name)
	}
}

func TestBuckets_NamesAndLives(t *testing.T) {
	t.Parallel()
	names := map[string]bool{BucketTensors: true}
	for _, k := range Buckets() {
		require.False(t, names[k.Name], k.Name)
		names[k.Name] = true
		switch k.Name {
		case BucketWorkers:
			require.Equal(t, AnnounceTTL, k.TTL)
		case BucketLeases:
			require.Equal(t, LeaseTTL, k.TTL)
		default:
			require.Zero(t, k.TTL, "%s holds the truth: it must not fade", k.Name)
		}
	}
}

// A stream or bucket without a share of --stream-max-bytes would get too little for its messages; shares beyond 100 would break the limit.
func TestShares_OfAllStreamsAndBuckets_Make100(t *testing.T) {
	t.Parallel()
	sum := int64(ShareTensors)
	for _, s := range Streams() {
		require.Positive(t, s.Share, s.Name)
		require.Equal(t, s.Name == StreamEvents, s.DropOldest, "%s: only the log may lose what was acknowledged", s.Name)
		sum += s.Share
	}
	for _, k := range Buckets() {
		require.Positive(t, k.Share, k.Name)
		sum += k.Share
	}
	require.Equal(t, int64(100), sum)
}

func TestParseSubject_Refuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "tf", "tf.manifests.c.t.1", "tf.manifests.c.t.1.m.x", "tf.tasks.c.t.1.m", "xx.manifests.c.t.1.m", "tf.manifests.c.t.one.m",
		"tf.manifests.c.t.-1.m", "tf.manifests.c.t.4294967296.m", "tf.manifests..t.1.m", "tf.manifests.c.*.1.m", "tf.manifests.c.t.1.>",
	} {
		_, err := ParseManifestSubject(s)
		require.Error(t, err, s)
	}
	for _, s := range []string{"", "tf.tasks.replay.c", "tf.tasks.replay.c.t.x", "tf.manifests.replay.c.t", "tf.tasks.replay..t", "tf.tasks.*.c.t"} {
		_, _, _, err := ParseTaskSubject(s)
		require.Error(t, err, s)
	}
}

func FuzzManifestSubject(f *testing.F) {
	f.Add(ManifestSubject("c-1", "t000", 1, "00ff"))
	f.Add(VerdictSubject("c-1", "t000", 1<<32-1, "00ff"))
	f.Add("tf.verdicts.c.t.01.m")
	f.Fuzz(func(t *testing.T, subject string) {
		a, err := ParseManifestSubject(subject)
		if err != nil {
			return
		}
		made := ManifestSubject(a.Collection, a.Task, a.Attempt, a.Manifest)
		if strings.HasPrefix(subject, "tf.verdicts.") {
			made = VerdictSubject(a.Collection, a.Task, a.Attempt, a.Manifest)
		}
		if made != subject {
			t.Fatalf("parsed %q, made %q", subject, made)
		}
	})
}

func FuzzTaskSubject(f *testing.F) {
	f.Add(TaskSubject(EngineReplay, "c-1", "t000"))
	f.Fuzz(func(t *testing.T, subject string) {
		engine, collection, task, err := ParseTaskSubject(subject)
		if err == nil && TaskSubject(engine, collection, task) != subject {
			t.Fatalf("parsed %q, made %q", subject, TaskSubject(engine, collection, task))
		}
	})
}

func TestDeadSubject_KeepsWhatDied(t *testing.T) {
	t.Parallel()
	require.Equal(t, "tf.dead.tasks.replay.c-1.t000", DeadSubject(TaskSubject(EngineReplay, "c-1", "t000")))
	require.Equal(t, fmt.Sprintf("tf.dead.manifests.c-1.t000.%d.m", 3), DeadSubject(ManifestSubject("c-1", "t000", 3, "m")))
}
