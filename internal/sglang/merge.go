package sglang

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// topic is a thing that several fields speak of, so that a stronger setting of one silences a weaker one of another.
type topic string

const (
	decodeGraphs  topic = "decode CUDA graphs"
	prefillGraphs topic = "prefill CUDA graphs"
)

// offSwitches are the fields that turn a topic off. disable_cuda_graph spoke for decode alone until 0.5.13, and for both since.
var offSwitches = map[topic][]string{
	decodeGraphs:  {"disable_cuda_graph", "disable_decode_cuda_graph"},
	prefillGraphs: {"disable_piecewise_cuda_graph", "disable_prefill_cuda_graph"},
}

// turnsOn gives the topics that a setting turns on although collecting needs them off. An explicit backend wins over the off
// switches in SGLang itself, and --cuda-graph-config over everything.
func (s *setting) turnsOn() (on []topic) {
	switch s.option.Field {
	case "cuda_graph_backend_decode":
		return notDisabled(s.values, decodeGraphs)
	case "cuda_graph_backend_prefill":
		return notDisabled(s.values, prefillGraphs)
	case "enforce_piecewise_cuda_graph", "enable_piecewise_cuda_graph", "enable_breakable_cuda_graph":
		return []topic{prefillGraphs}
	case "cuda_graph_config":
		doc, err := s.option.convert(s.values[0])
		phases, isObject := doc.(map[string]any)
		if err != nil || !isObject {
			return nil
		}
		for phase, topic := range map[string]topic{"decode": decodeGraphs, "prefill": prefillGraphs} {
			if settings, has := phases[phase].(map[string]any); has && settings["backend"] != nil && settings["backend"] != "disabled" {
				on = append(on, topic)
			}
		}
		slices.Sort(on)
	}
	return on
}

func notDisabled(values []string, t topic) []topic {
	if slices.Equal(values, []string{"disabled"}) {
		return nil
	}
	return []topic{t}
}

// harmful are the other settings of a user that keep calls from being dumped, with what they do.
var harmful = map[string]string{
	"enable_deterministic_inference": "takes sampling and norms from FlashInfer and turns the prefix cache off",
	"enable_torch_compile":           "takes norms from FlashInfer",
	"disable_radix_cache":            "leaves prefix-sharing prompts without a cached prefix",
}

// foreign are the settings that a launch of ours cannot have: the traffic would not reach the server, or other processes are
// needed.
var foreign = map[string]string{
	"api_key":             "would refuse tracefleet's requests, which carry no key",
	"admin_api_key":       "would refuse tracefleet's requests, which carry no key",
	"ssl_certfile":        "would not answer tracefleet, which speaks plain HTTP to the loopback",
	"ssl_keyfile":         "would not answer tracefleet, which speaks plain HTTP to the loopback",
	"grpc_mode":           "has no HTTP server for tracefleet's requests",
	"smg_grpc_mode":       "has no HTTP server for tracefleet's requests",
	"encoder_only":        "generates nothing",
	"disaggregation_mode": "needs a second server",
	"nnodes":              "needs more nodes than a task has",
	"node_rank":           "needs more nodes than a task has",
	"dist_init_addr":      "joins ranks outside the task's lease",
	"base_gpu_id":         "takes other devices than the task has leased",
	"gpu_id_step":         "takes other devices than the task has leased",
	"device":              "runs on something other than the leased GPUs",
	"elastic_ep_rejoin":   "joins ranks outside the task's lease",
	"encoder_urls":        "needs a second server",
	"gated_launch_port":   "waits for a request that tracefleet does not send",
	"decoupled_spec_role": "needs a second server",
	"max_ep_size":         "grows beyond the task's lease",

	"ep_join_mode":                     "joins ranks outside the task's lease",
	"ep_join_rank_offset":              "joins ranks outside the task's lease",
	"elastic_ep_initial_size":          "grows beyond the task's lease",
	"decoupled_spec_rank":              "needs a second server",
	"decoupled_spec_bind_endpoint":     "needs a second server",
	"decoupled_spec_connect_endpoints": "needs a second server",
	"use_ray":                          "starts processes that do not get the dump's environment",
	"is_embedding":                     "generates nothing",
	"--config":                         "may say anything in a file; give what is in it flag by flag",
	"fastapi_root_path":                "would move the server's paths",
}

// owned are the settings of the task itself, each with where it is set.
var owned = map[string]string{
	"model_path": "--model-path of collect", "host": "--base-url of collect", "port": "--sglang-port of collect",
	"tp_size": "--tp of collect", "ep_size": "--ep of collect", "page_size": "--page-size of collect",
}

// widths are the fields that count ranks and that a user may set. With any of them at mostRanks, the number of GPUs fits an int.
var widths = []string{"pp_size", "dp_size", "attn_dp_size", "attn_cp_size", "moe_dp_size", "dcp_size"}

// mostRanks bounds each of widths: far more than any fleet has.
const mostRanks = 1024

// merge decides who wins where settings speak of the same thing: the user over the wanted APIs over what collecting needs over
// the model catalogue. Order is kept. Notices say what a user's setting breaks, and what of the model's was left out.
func (t *Table) merge(in *Intent, layers ...[]*setting) (kept []*setting, notices []string, err error) {
	for _, s := range slices.Concat(layers...) {
		if drop, notice, err := t.judge(in, s, kept); err != nil {
			return nil, nil, s.origin.mark(err)
		} else if notice != "" {
			notices = append(notices, notice)
			if drop {
				continue
			}
		} else if drop {
			continue
		}
		kept, notices = t.put(kept, s, notices)
	}
	// On the command line ours come first, so that it begins with the model; the order means nothing to SGLang.
	slices.SortStableFunc(kept, func(a, b *setting) int { return cmp.Compare(rank[a.origin], rank[b.origin]) })
	return kept, notices, nil
}

// key is what a setting is about: its field, or its name where it has none.
func (s *setting) key() string {
	if s.option.Field == "" {
		return s.option.Name()
	}
	return s.option.Field
}

var rank = map[origin]int{ofOurs: 0, ofModel: 1, ofRequires: 2, ofUser: 3}

// judge looks at a single setting that is not ours.
func (t *Table) judge(in *Intent, s *setting, kept []*setting) (drop bool, notice string, err error) {
	field := s.option.Field
	if s.origin == ofOurs {
		return false, "", nil
	}
	if use, isOwned := owned[field]; isOwned && s.origin == ofUser {
		own := slices.IndexFunc(kept, func(k *setting) bool { return k.option == s.option && k.origin == ofOurs })
		switch {
		case own >= 0 && slices.Equal(kept[own].values, s.values):
			return true, "", nil
		case own >= 0:
			return false, "", t.refuse(s.String(), "contradicts the task's "+kept[own].String(), use)
		case field == "host" || field == "port":
			return false, "", t.refuse(s.String(), "is chosen by tracefleet", use)
		case field == "ep_size" && in.EP == 1 && !slices.Equal(s.values, []string{"1"}):
			return false, "", t.refuse(s.String(), "contradicts the task's --ep-size 1", use)
		}
	}
	if why := foreign[s.key()]; why != "" && !s.usual() {
		return false, "", t.refuse(s.String(), why, "")
	}
	if slices.Contains(widths, field) {
		if n, err := strconv.Atoi(strings.Join(s.values, " ")); err != nil || n < 1 || n > mostRanks {
			return false, "", t.refuse(s.String(), fmt.Sprintf("is no number of ranks, which are 1 to %d", mostRanks), "")
		}
	}
	on := s.turnsOn()
	for _, topic := range on {
		if topic == decodeGraphs && in.DecodeGraphs {
			continue
		}
		if s.origin == ofModel {
			return true, fmt.Sprintf("%s of the model catalogue is left out: it turns on %s, which hide the calls to be dumped", s, topic), nil
		}
		notice = joinNotices(notice, fmt.Sprintf("%s turns on %s: calls replayed from them are not dumped as planned, and their capture spends the dump budget", s, topic))
	}
	if why := harmful[field]; why != "" && s.origin == ofUser && (field != "disable_radix_cache" || in.Mode == HTTPPaged) {
		notice = joinNotices(notice, s.String()+" "+why)
	}
	return false, notice, nil
}

// usual reports whether a setting names what a single plain server has anyway.
func (s *setting) usual() bool {
	usual, has := usualValues[s.option.Field]
	return has && slices.Equal(s.values, []string{usual})
}

// usualValues are what the fields of foreign have on a single plain server.
var usualValues = map[string]string{
	"nnodes": "1", "node_rank": "0", "disaggregation_mode": "null", "base_gpu_id": "0", "gpu_id_step": "1", "device": "cuda", "decoupled_spec_role": "null",
}

// put adds s and takes out what it silences: settings of the same field, and the off switches of what it turns on.
func (t *Table) put(kept []*setting, s *setting, notices []string) ([]*setting, []string) {
	same := func(k *setting) bool {
		return k.option == s.option && k.negated == s.negated && slices.Equal(k.values, s.values)
	}
	if slices.ContainsFunc(kept, same) && len(s.turnsOn()) == 0 {
		return kept, notices
	}
	silenced := []string{s.key()}
	for _, topic := range s.turnsOn() {
		silenced = append(silenced, offSwitches[topic]...)
	}
	kept = slices.DeleteFunc(kept, func(k *setting) bool {
		gone := slices.Contains(silenced, k.key())
		if gone && k.option == s.option && !slices.Equal(k.values, s.values) && k.origin != s.origin {
			notices = append(notices, replaced(s, k))
		}
		return gone
	})
	return append(kept, s), notices
}

func replaced(s, k *setting) string {
	notice := fmt.Sprintf("%s of %s replaces %s of %s", s, origins[s.origin], strings.Join(k.values, " "), origins[k.origin])
	if k.origin == ofRequires {
		notice += ": without it the API is not called"
	}
	return notice
}
