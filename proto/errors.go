package proto

import (
	"errors"
	"fmt"
)

// Code names what went wrong, in one word that scripts and people can search for. docs/failure-codes.md lists them all.
type Code string

// Failure codes. A rejection of a dump has its own codes (see the sanitizer's), since a rejected dump is a result.
const (
	CodeUnknownVersion    Code = "unknown_version"    // written by another release
	CodeUnknownKind       Code = "unknown_kind"       // not the message this subject carries
	CodeMalformedMessage  Code = "malformed_message"  // cannot be decoded, or a field is out of its range
	CodeMessageTooLarge   Code = "message_too_large"  // over MaxMessageBytes
	CodeNoDefinitions     Code = "no_definitions"     // a selection that matches nothing
	CodeBadDefinition     Code = "bad_definition"     // a definition that contradicts itself
	CodeBadCollection     Code = "bad_collection"     // a submission that cannot be planned
	CodeEngineUnavailable Code = "engine_unavailable" // this worker has no such engine
	CodeEngineFailed      Code = "engine_failed"      // the engine ended with an error
	CodeNothingDumped     Code = "nothing_dumped"     // the engine ran and no dump appeared
	CodeUnreachable       Code = "unreachable"        // no engine configuration calls the definition's API
	CodeUncollectable     Code = "uncollectable"      // the API is called, but what is passed does not fit the definition
	CodeModelMismatch     Code = "model_mismatch"     // the model's configuration, or the ranks, cannot produce the definition
	CodeBadServerFlag     Code = "bad_server_flag"    // a flag that this SGLang release does not take
	CodeReleaseUnknown    Code = "release_unknown"    // an SGLang release outside the tested range
	CodeEnvironment       Code = "environment"        // no Python, or one without SGLang or FlashInfer
	CodeStartTimeout      Code = "start_timeout"      // the server was not ready in time
	CodeOutOfMemory       Code = "out_of_memory"      // GPU memory, at start or under way
	CodeGraphCapture      Code = "graph_capture"      // CUDA graphs were captured though dumping forbids it
	CodeNCCL              Code = "nccl"               // communication between ranks failed
	CodeWatchdog          Code = "watchdog"           // SGLang's watchdog ended a forward pass that took too long
	CodeBadTraffic        Code = "bad_traffic"        // a traffic file that cannot be read or played
	CodeNoGPUs            Code = "no_gpus"            // the node has fewer GPUs than the task needs
	CodeDumpDir           Code = "dump_dir"           // the dump directory is missing or vanished
	CodeDiskFull          Code = "disk_full"          // no room, or over the user's quota
	CodeBrokerRefused     Code = "broker_refused"     // the NATS server refuses, until someone changes its configuration
	CodeTensorLost        Code = "tensor_lost"        // a digest the tensor store does not have
	CodeAttemptLost       Code = "attempt_lost"       // the worker stopped answering
	CodeAttemptsExhausted Code = "attempts_exhausted" // the retry budget is spent
	CodeCancelled         Code = "cancelled"          // by the user
	CodeSanitizerFailed   Code = "sanitizer_failed"   // a manifest no sanitizer could convert
	CodeDatasetConflict   Code = "dataset_conflict"   // the dataset holds something else under the same name
	CodeDatasetLocked     Code = "dataset_locked"     // another publisher is in this directory
	CodeDatasetWrite      Code = "dataset_write"      // the dataset could not be written
	CodeHubToken          Code = "hub_token"          // no token for the Hub, or one without the rights
	CodeHubRepo           Code = "hub_repo"           // the Hub has no such repository, or it cannot be read
	CodeHubPR             Code = "hub_pr"             // the pull request is closed, merged or none
	CodeHubFailed         Code = "hub_failed"         // the Hub did not do what was asked
	CodeHubConflict       Code = "hub_conflict"       // the repository holds something else under the same path
	CodeNotPublishable    Code = "not_publishable"    // a check refuses what would be pushed
	CodeSimulatedPush     Code = "simulated_push"     // simulated workloads for a real Hub
	CodeSimulatedMix      Code = "simulated_mix"      // simulated and other workloads for one file
	CodeEvaluationRefused Code = "evaluation_refused" // the baseline did not pass on every workload
	CodeInternal          Code = "internal"           // a bug of ours
)

// Failure is an error that crosses NATS or reaches a person.
type Failure struct {
	Code      Code   `msgpack:"code" json:"code"`
	Message   string `msgpack:"message" json:"message"`               // what was tried and what happened, names included
	Hint      string `msgpack:"hint,omitempty" json:"hint,omitempty"` // what to do about it
	Retryable bool   `msgpack:"retryable" json:"retryable"`           // whether the same work may succeed later
}

// Failf makes a failure that is not retryable.
func Failf(code Code, format string, args ...any) *Failure {
	return &Failure{Code: code, Message: fmt.Sprintf(format, args...)}
}

// WithHint sets what the reader should do, and returns f.
func (f *Failure) WithHint(format string, args ...any) *Failure {
	f.Hint = fmt.Sprintf(format, args...)
	return f
}

// WithRetry marks f as worth another try, and returns f.
func (f *Failure) WithRetry() *Failure {
	f.Retryable = true
	return f
}

// Error gives the message with the hint.
func (f *Failure) Error() string {
	if f.Hint == "" {
		return fmt.Sprintf("%s [%s]", f.Message, f.Code)
	}
	return fmt.Sprintf("%s [%s]; %s", f.Message, f.Code, f.Hint)
}

// Kind implements Message.
func (*Failure) Kind() Kind { return KindFailure }

// Validate implements Message.
func (f *Failure) Validate() error {
	if f.Code == "" {
		return errors.New("failure: code is empty")
	}
	return nil
}

// AsFailure gives the *Failure in err's chain, or wraps err as code.
func AsFailure(err error, code Code) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Code: code, Message: err.Error()}
}
