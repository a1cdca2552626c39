package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/proto"
)

// printAccount writes the closing account: a row a definition, then where every dump went.
func printAccount(w io.Writer, a *coordinator.Account) {
	fmt.Fprintf(w, "collection %s: %s\n\n", a.Collection, a.State)
	if a.Total.Dumps > 0 {
		printCounts(w, a)
	}
	if t := a.Total; t.Tokens > 0 && t.ServeSeconds > 0 {
		fmt.Fprintf(w, "served in %s: %d tokens, %.0f tokens/s an engine\n", cli.Seconds(t.ServeSeconds), t.Tokens, float64(t.Tokens)/t.ServeSeconds)
	}
	if n := a.Total.Harvested; n > 0 {
		fmt.Fprintf(w, "%d definitions harvested; `tracefleet definitions harvest --job %s --out harvest-%s` corrects them and stages them for review\n", n, a.Collection, a.Collection)
	}
	for i := range a.Tasks {
		printAttempts(w, &a.Tasks[i])
	}
	for i := range a.Evaluations {
		printAttempts(w, &a.Evaluations[i])
	}
	for i := range a.Pushes {
		printPush(w, &a.Pushes[i])
	}
	if a.Total.Dumps > 0 { // statements that a dump contradicted are no facts about calls
		for _, r := range a.Recorded {
			fmt.Fprintln(w, recordedLine(r))
		}
	}
	if a.Simulated {
		fmt.Fprintln(w, simulatedText(a.Total.NewWorkloads > 0))
	}
	if a.Total.NewWorkloads > 0 {
		fmt.Fprintf(w, "%d new workloads in %s\n", a.Total.NewWorkloads, a.TraceDir)
	} else {
		fmt.Fprintf(w, "nothing new for %s\n", a.TraceDir)
	}
}

func printCounts(w io.Writer, a *coordinator.Account) {
	var rows [][]string
	for i := range a.Definitions {
		d := &a.Definitions[i]
		rows = append(rows, []string{
			d.Name, fmt.Sprintf("%d/%d", d.Published, d.Of), strconv.Itoa(len(d.Workloads)), strconv.Itoa(d.All.Workload + d.All.Duplicate + d.All.NotSelected),
			strconv.Itoa(d.All.Duplicate), strconv.Itoa(d.All.NotSelected), rejections(d.All.Rejected), batchSizes(d.Seen), ranges(d.Seen.KVLen),
		})
	}
	cli.Table(w, []string{"DEFINITION", "BATCHES", "NEW", "FIT", "DUPLICATE", "NOT SELECTED", "REJECTED", "BATCH SIZES", "KV LENGTHS ≤"}, rows)
	fmt.Fprintln(w)
	t := a.Total
	rows = [][]string{
		{strconv.FormatInt(t.Workloads, 10), "workload", "its content is a line of the dataset"},
		{strconv.FormatInt(t.Duplicates, 10), "duplicate", "equal content: another layer, rank or step, or there before"},
		{strconv.FormatInt(t.NotSelected, 10), "not selected", "fits, but others show more"},
	}
	for _, reason := range slices.Sorted(maps.Keys(t.Rejected)) {
		rows = append(rows, []string{strconv.Itoa(t.Rejected[reason]), "rejected", reason})
	}
	rows = append(rows, []string{strconv.FormatInt(t.Plans, 10), "plan", "travels with the runs it served"})
	if t.Captures > 0 {
		rows = append(rows, []string{strconv.FormatInt(t.Captures, 10), "graph capture", "only its replays carry values"})
	}
	if t.Pending > 0 {
		rows = append(rows, []string{strconv.FormatInt(t.Pending, 10), "pending", "of tasks that were not published"})
	}
	rows = append(rows, []string{strconv.FormatInt(t.Dumps, 10), "dumps in all", ""})
	if t.BeforeTraffic > 0 {
		rows = append(rows, []string{strconv.FormatInt(t.BeforeTraffic, 10), "of them before traffic",
			"made by warm-up, autotune or capture: they spent dump budget, and none is a workload"})
	}
	cli.Table(w, []string{"DUMPS", "BECAME", ""}, rows)
	for i := range a.Definitions {
		printExamples(w, a.Definitions[i].Name, a.Definitions[i].Examples)
	}
	perWorkload := ""
	if t.NewWorkloads > 0 {
		perWorkload = fmt.Sprintf(" (%s a workload gained)", cli.Bytes(t.BytesSeen/int64(t.NewWorkloads)))
	}
	fmt.Fprintf(w, "\nengine %s, GPU-seconds %.1f; %s of dumps%s, %s read of them, %s shipped, at most %s on disk at once\n",
		cli.Seconds(t.EngineSeconds), t.GPUSeconds, cli.Bytes(t.BytesSeen), perWorkload, cli.Bytes(t.BytesRead), cli.Bytes(t.BytesShipped),
		cli.Bytes(t.PeakBytes))
}

// printPush says how a definition's pull request stands.
func printPush(w io.Writer, p *coordinator.PushAccount) {
	for _, line := range p.Plan {
		fmt.Fprintf(w, "%s: would %s\n", p.Definition, line)
	}
	if n := len(p.Skipped); n > 0 {
		fmt.Fprintf(w, "%s: %d left out, since the repository has as much already: %s\n", p.Definition, n, strings.Join(p.Skipped, ", "))
	}
	warnings := ""
	if n := len(p.Warnings); n > 0 {
		warnings = fmt.Sprintf("; %s, in its text", counted(n, "warning"))
	}
	switch {
	case p.URL == "" || p.Workloads == 0:
	case p.Held:
		fmt.Fprintf(w, "%s: %s is open; %s would be added, and none of them is in it%s\n", p.Definition, p.URL, counted(p.Workloads, "workload"), evaluated(p.Evaluation))
	default:
		state := "a draft"
		if p.Open {
			state = "open"
		}
		fmt.Fprintf(w, "%s: %s is %s: %s in %s, %s sent%s%s\n", p.Definition, p.URL, state, counted(p.Workloads, "workload"), counted(p.Commits, "commit"),
			cli.Bytes(p.Bytes), evaluated(p.Evaluation), warnings)
	}
	if e := p.Evaluation; e != nil {
		for _, r := range e.Refused {
			fmt.Fprintf(w, "%s, workload %s: %s %s\n", p.Definition, r.Workload, r.Status, r.Log)
		}
	}
	if p.Failure != nil {
		fmt.Fprintf(w, "%s was not pushed: %s\n", p.Definition, p.Failure.Error())
	}
}

// simulatedText returns what a report on simulated calls says of them; written: workloads were made of them.
func simulatedText(written bool) string {
	text := "SIMULATED: no GPU ran."
	if written {
		text += " These workloads are marked so in provenance/ and are not measured traffic."
	}
	return text
}

// recordedLine returns what is known of replayed calls.
func recordedLine(r coordinator.RecordedCalls) string {
	fact := func(what, value, field string) string {
		switch {
		case value == "":
			return what + " unknown"
		case slices.Contains(r.Stated, field):
			return fmt.Sprintf("%s %s (stated by the user)", what, value)
		}
		return what + " " + value
	}
	return "recorded calls: " + strings.Join([]string{
		fact("engine", r.Engine, proto.StatedEngine), fact("release", r.Release, proto.StatedEngine), fact("model", r.Model, proto.StatedModel),
		fact("GPU", r.GPU, proto.StatedGPU), "traffic unknown",
	}, ", ")
}

// counted is a number of things in words.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func evaluated(e *proto.Evaluation) string {
	switch {
	case e == nil:
		return "; not evaluated"
	case e.Skipped:
		return "; not evaluated (--no-eval)"
	}
	unseen := ""
	if e.Unseen > 0 {
		unseen = fmt.Sprintf(", and on %d was not looked at what it computes", e.Unseen)
	}
	return fmt.Sprintf("; the baseline passed %d of %d%s", e.Passed, e.Of, unseen)
}

// printExamples says of each reason what was wrong with one call.
func printExamples(w io.Writer, definition string, examples []proto.Example) {
	for _, e := range examples {
		if strings.HasPrefix(e.Detail, e.Dump) { // a defect names its dump itself
			fmt.Fprintf(w, "%s, %s: such as %s\n", definition, e.Reason, e.Detail)
			continue
		}
		fmt.Fprintf(w, "%s, %s: such as %s: %s\n", definition, e.Reason, e.Dump, e.Detail)
	}
}

func printAttempts(w io.Writer, t *coordinator.TaskAccount) {
	for _, f := range t.Failures {
		fmt.Fprintf(w, "%s attempt %d on %s did not count: %s\n", t.ID, f.Number, f.Worker, f.Failure.Error())
	}
	told := len(t.Failures) > 0 && t.Failure != nil && t.Failures[len(t.Failures)-1].Failure == *t.Failure
	if t.Failure != nil && !told {
		fmt.Fprintf(w, "%s %s: %s\n", t.ID, t.State, t.Failure.Error())
	}
}

func rejections(by map[string]int) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		parts = append(parts, fmt.Sprintf("%d %s", by[reason], reason))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

// rowAxes count rows, where no axis counts requests.
var rowAxes = []string{"num_tokens", "seq_len", "total_q", "M", "m"}

// batchSizes gives the values of the axis that counts requests, or else of one that counts rows, named.
func batchSizes(s proto.Seen) string {
	if values := s.Axes["batch_size"]; len(values) > 0 {
		return ranges(values)
	}
	if values := s.Axes["len_indptr"]; len(values) > 0 { // one longer than the number of requests
		requests := map[int64]int{}
		for v, n := range values {
			requests[v-1] += n
		}
		return ranges(requests)
	}
	for _, axis := range rowAxes {
		if values := s.Axes[axis]; len(values) > 0 {
			return ranges(values) + " (" + axis + ")"
		}
	}
	return "-"
}

// ranges gives up to four values, else the least and the most with how many there are.
func ranges(values map[int64]int) string {
	keys := slices.Sorted(maps.Keys(values))
	switch {
	case len(keys) == 0:
		return "-"
	case len(keys) <= 4:
		var parts []string
		for _, k := range keys {
			parts = append(parts, strconv.FormatInt(k, 10))
		}
		return strings.Join(parts, " ")
	}
	return fmt.Sprintf("%d…%d (%d)", keys[0], keys[len(keys)-1], len(keys))
}
