package publisher

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/proto"
	"github.com/tracefleet/tracefleet/publisher/prbody"
)

// A pull request is public: of a model's path on the user's machine it names the last element, as the provenance does.
func TestRecordedOf_ModelIsALocalPath_NamesItsLastElement(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{"/home/me/models/tiny": "tiny", "meta-llama/Llama-3.1-8B": "meta-llama/Llama-3.1-8B", "": ""} {
		p := &proto.Provenance{Model: model}
		if model != "" {
			p.Stated = []string{proto.StatedModel}
		}
		require.Equal(t, []prbody.Fact{{Text: want, Stated: want != ""}}, recordedOf([]*proto.Provenance{p}).Model, model)
	}
}
