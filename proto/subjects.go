package proto

import (
	"fmt"
	"strconv"
	"strings"
)

// Every subject is built and parsed here. All tokens are checked when a message is encoded, so building cannot fail.

// SubmitSubject carries a Collection to the coordinator.
func SubmitSubject(collection string) string { return "tf.submit." + collection }

// TaskSubject carries a Task. The engine comes first, so that a worker pulls only what it can run.
func TaskSubject(engine EngineKind, collection, task string) string {
	return "tf.tasks." + string(engine) + "." + collection + "." + task
}

// ManifestSubject carries a Manifest. One subject a manifest: shipping it again stores nothing new.
func ManifestSubject(collection, task string, attempt uint32, manifest string) string {
	return "tf.manifests." + attemptKey(collection, task, attempt) + "." + manifest
}

// VerdictSubject carries the Verdict on a manifest. One subject a manifest, one message a subject: the set of verdicts.
func VerdictSubject(collection, task string, attempt uint32, manifest string) string {
	return VerdictPrefix(collection, task, attempt) + manifest
}

// VerdictPrefix is what the verdicts of an attempt share; with ">" after it, their filter.
func VerdictPrefix(collection, task string, attempt uint32) string {
	return "tf.verdicts." + attemptKey(collection, task, attempt) + "."
}

// PublishSubject carries a Publish.
func PublishSubject(collection, task string, index int) string {
	return "tf.publish." + PublicationKey(collection, task, index)
}

// PushSubject carries a Push. One subject a step, so that the next one can be asked for while the last is being acknowledged.
func PushSubject(p *Push) string {
	return fmt.Sprintf("tf.push.%s.%s-%d-%d-%d", PushKey(p.Collection, p.Index), p.Step, p.Round, len(p.Workloads), p.Evaluation)
}

// PushFilter matches the steps of all pull requests of a collection.
func PushFilter(collection string) string { return "tf.push." + collection + ".>" }

// EventSubject carries an Event; task is "_" for those of the collection.
func EventSubject(collection, task string) string {
	if task == "" {
		task = "_"
	}
	return "tf.events." + collection + "." + task
}

// EventFilter matches the events of a collection.
func EventFilter(collection string) string { return "tf.events." + collection + ".>" }

// DeadSubject carries a Dead: the subject that died, below its own prefix.
func DeadSubject(subject string) string { return "tf.dead." + strings.TrimPrefix(subject, "tf.") }

// TaskKey is a task's key in the tasks bucket.
func TaskKey(collection, task string) string { return collection + "." + task }

// PublicationKey is a publication's key in the publications bucket.
func PublicationKey(collection, task string, index int) string {
	return collection + "." + task + "." + strconv.Itoa(index)
}

// PushKey is a pull request's key in the pushes bucket.
func PushKey(collection string, index int) string { return collection + "." + strconv.Itoa(index) }

func attemptKey(collection, task string, attempt uint32) string {
	return collection + "." + task + "." + strconv.FormatUint(uint64(attempt), 10)
}

// ParseTaskSubject reads a subject made by TaskSubject: enough to fail a task whose message cannot be decoded.
func ParseTaskSubject(subject string) (engine EngineKind, collection, task string, err error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 5 || parts[0] != "tf" || parts[1] != "tasks" {
		return "", "", "", fmt.Errorf("subject %q is not one of a task", subject)
	}
	for _, f := range []struct{ name, value string }{{"engine", parts[2]}, {"collection", parts[3]}, {"task", parts[4]}} {
		if err := checkToken(f.name, f.value); err != nil {
			return "", "", "", fmt.Errorf("subject %q: %w", subject, err)
		}
	}
	return EngineKind(parts[2]), parts[3], parts[4], nil
}

// ManifestAddress is what a manifest's or verdict's subject says: enough to account for a message that cannot be decoded.
type ManifestAddress struct {
	Collection, Task, Manifest string
	Attempt                    uint32
}

// ParseManifestSubject reads a subject made by ManifestSubject or VerdictSubject.
func ParseManifestSubject(subject string) (ManifestAddress, error) {
	parts := strings.Split(subject, ".")
	if len(parts) != 6 || parts[0] != "tf" || (parts[1] != "manifests" && parts[1] != "verdicts") {
		return ManifestAddress{}, fmt.Errorf("subject %q is not one of a manifest or verdict", subject)
	}
	attempt, err := strconv.ParseUint(parts[4], 10, 32)
	if err != nil || strconv.FormatUint(attempt, 10) != parts[4] { // 01 and 1 are two subjects of one attempt
		return ManifestAddress{}, fmt.Errorf("subject %q: attempt %q is not a number", subject, parts[4])
	}
	a := ManifestAddress{Collection: parts[2], Task: parts[3], Manifest: parts[5], Attempt: uint32(attempt)}
	for _, f := range []struct{ name, value string }{{"collection", a.Collection}, {"task", a.Task}, {"manifest", a.Manifest}} {
		if err := checkToken(f.name, f.value); err != nil {
			return ManifestAddress{}, fmt.Errorf("subject %q: %w", subject, err)
		}
	}
	return a, nil
}
