// Package childenv says what the worker's children get of its environment: all but what opens the Hub or the broker, and tracefleet's own
// settings. What they run is other people's code, and none of it needs these: SGLang serves a model that is on the node, nvidia-smi and the
// probes only look. A gated model is read with the token that `hf auth login` leaves on the node, or with one that an engine's own options
// name.
package childenv

import (
	"slices"
	"strings"
)

var (
	secretPrefixes = []string{"TRACEFLEET_", "NATS_"}
	secretNames    = []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_TOKEN", "HUGGINGFACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN"}
)

// Without gives an environment, NAME=value each, without what a child must not have. Names are told in any case. env stays as it is.
func Without(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), secret)
}

func secret(v string) bool {
	name, _, _ := strings.Cut(v, "=")
	name = strings.ToUpper(name)
	return slices.Contains(secretNames, name) ||
		slices.ContainsFunc(secretPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}
