package sglang

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
)

// shape is what config.json says of attention heads.
type shape struct {
	Heads   int64 `json:"num_attention_heads"`
	KVHeads int64 `json:"num_key_value_heads"`
	Latent  int64 `json:"kv_lora_rank"` // MLA keeps one latent head, whatever num_key_value_heads says
	Text    *struct {
		Heads   int64 `json:"num_attention_heads"`
		KVHeads int64 `json:"num_key_value_heads"`
		Latent  int64 `json:"kv_lora_rank"`
	} `json:"text_config"`
}

// shapes tells which definitions the model's heads cannot fit when they are divided over the ranks: their calls would be dumped,
// and all rejected for a constant axis. Nothing is said of a model whose configuration is not here.
func shapes(job *engine.Job) (told []string) {
	data, err := os.ReadFile(filepath.Join(job.Task.Engine.ModelPath, "config.json"))
	var s shape
	if err != nil || json.Unmarshal(data, &s) != nil {
		return nil
	}
	if s.Text != nil && s.Heads == 0 {
		s.Heads, s.KVHeads, s.Latent = s.Text.Heads, s.Text.KVHeads, s.Text.Latent
	}
	if s.KVHeads == 0 {
		s.KVHeads = s.Heads
	}
	tp := int64(max(job.Task.Engine.TP, 1))
	for _, d := range job.Definitions {
		for _, axis := range []struct {
			name  string
			whole int64
		}{{"num_qo_heads", s.Heads}, {"num_kv_heads", s.KVHeads}} {
			want, ok := d.Const(axis.name)
			if !ok || axis.whole == 0 || axis.name == "num_kv_heads" && s.Latent > 0 {
				continue
			}
			if has := max(axis.whole/tp, 1); has != want {
				told = append(told, fmt.Sprintf("%s wants %s %d, and the model has %d over tp %d, %d a rank: its calls will be rejected (const_axis); choose --tp, or another model",
					d.Name, axis.name, want, axis.whole, tp, has))
				break
			}
		}
	}
	return told
}
