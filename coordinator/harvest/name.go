package harvest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/fitrace"
)

// size is a part of a name that says an axis: h32, kv8, ckv512.
var size = regexp.MustCompile(`^([A-Za-z]+)(\d+)$`)

// splitName takes a name apart: what it is, and the sizes at its end.
func splitName(name string) (stem string, sizes []string) {
	parts := strings.Split(name, "_")
	i := len(parts)
	for i > 1 && size.MatchString(parts[i-1]) {
		i--
	}
	return strings.Join(parts[:i], "_"), parts[i:]
}

// words gives the sizes without their numbers, which is what names of one kind have in common.
func words(sizes []string) string {
	var out []string
	for _, s := range sizes {
		out = append(out, size.FindStringSubmatch(s)[1])
	}
	return strings.Join(out, "_")
}

// resize writes other numbers into a name; false where it lacks one of them.
func resize(name string, now map[string]int64) (string, bool) {
	stem, sizes := splitName(name)
	sizes = slices.Clone(sizes)
	done := 0
	for i, s := range sizes {
		word := size.FindStringSubmatch(s)[1]
		if n, ok := now[word]; ok {
			sizes[i] = word + strconv.FormatInt(n, 10)
			done++
		}
	}
	return stem + "_" + strings.Join(sizes, "_"), done == len(now)
}

// knownStems are names of the tracer that the dataset has longer words for, where no definition of the dataset at hand shows it.
var knownStems = map[string]string{
	"gqa_ragged":           "gqa_ragged_prefill_causal",
	"gqa_paged_prefill":    "gqa_paged_prefill_causal",
	"top_k_sampling":       "top_k_sampling_from_probs",
	"top_p_sampling":       "top_p_sampling_from_probs",
	"top_k_top_p_sampling": "top_k_top_p_sampling_from_probs",
}

// rename gives the file the name that the dataset writes for such definitions.
func (w *work) rename() error {
	if err := fitrace.CheckName("name", w.t.name); err != nil {
		return asideFor(ReasonInvalid, "%v", err)
	}
	stem, sizes := splitName(w.t.name)
	if len(sizes) == 0 {
		return nil
	}
	to, why := w.dataset.stem(w.t.opType, w.api, stem, words(sizes)), "as the dataset names them"
	if to == "" {
		to = knownStems[stem]
	}
	if to == "" || to == stem {
		return nil
	}
	name := to + "_" + strings.Join(sizes, "_")
	w.change("name", w.t.name, name, "%s", why)
	w.t.name = name
	return nil
}

// unsharded are op types whose tensors are the same on every rank: the dataset gives them no tp: tag.
var unsharded = []string{"rmsnorm", "layernorm", "sampling"}

// tags writes the tags as the dataset does: stage, status, models, what else there is, the API, ranks.
func (w *work) tags() error {
	var stage, status, models, rest []string
	for _, tag := range w.t.tags {
		switch {
		case strings.HasPrefix(tag, "stage:"):
			stage = append(stage, tag)
		case strings.HasPrefix(tag, "status:"):
			status = append(status, tag)
		case strings.HasPrefix(tag, "model:"):
			models = append(models, tag)
		case strings.HasPrefix(tag, "fi_api:"), strings.HasPrefix(tag, "tp:"), strings.HasPrefix(tag, "ep:"):
		default:
			rest = append(rest, tag)
		}
	}
	for _, m := range w.file.Models {
		if m = modelTag(m); m != "" {
			models = append(models, "model:"+m)
		}
	}
	slices.Sort(models)
	tags := slices.Concat(stage, status, slices.Compact(models), rest)
	if w.tag != "" {
		path := w.dataset.api(w.api)
		if path == "" {
			path = shortPath(w.tag)
		}
		if path != w.tag {
			w.change("tags", "fi_api:"+w.tag, "fi_api:"+path, "as the dataset writes it: the public name, without the method run")
		}
		tags = append(tags, "fi_api:"+path)
	}
	tags = append(tags, w.ranks()...)
	var added []string
	for _, tag := range tags {
		if !slices.Contains(w.t.tags, tag) && !strings.HasPrefix(tag, "fi_api:") {
			added = append(added, tag)
		}
	}
	if len(added) > 0 {
		w.change("tags", "", strings.Join(added, ", "), "added: of the run that was traced")
	}
	w.t.tags = tags
	return nil
}

// ranks gives the tp: and ep: tags, for op types that have them.
func (w *work) ranks() []string {
	var tags []string
	if w.dataset.tagged(w.t.opType, "tp:", !slices.Contains(unsharded, w.t.opType)) {
		if w.file.TP > 0 {
			tags = append(tags, fmt.Sprintf("tp:%d", w.file.TP))
		} else {
			w.doubt("no tp: tag: nothing says how many ranks the model was split over (--tp)")
		}
	}
	if w.file.EP > 0 && w.dataset.tagged(w.t.opType, "ep:", w.t.opType == "moe") {
		tags = append(tags, fmt.Sprintf("ep:%d", w.file.EP))
	}
	return tags
}

// modelTag is a model's name as the dataset writes it: the last part of a path, in lower case.
func modelTag(s string) string {
	s = strings.Trim(strings.TrimSpace(s), "/")
	return strings.ToLower(strings.ReplaceAll(s[strings.LastIndexByte(s, '/')+1:], " ", "-"))
}

// shortPath is the public name of a function or class: FlashInfer's package and module, without the private modules below it
// and without run.
func shortPath(path string) string {
	parts := strings.Split(strings.TrimSuffix(path, ".run"), ".")
	if len(parts) < 4 {
		return strings.Join(parts, ".")
	}
	last := len(parts) - 1
	if c := parts[last-1]; c != "" && c[0] >= 'A' && c[0] <= 'Z' { // a method of a class
		last--
	}
	return strings.Join(append(parts[:2:2], parts[max(2, last):]...), ".")
}
