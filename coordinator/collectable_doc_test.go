package coordinator

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tracefleet/tracefleet/internal/fitrace"
	"github.com/tracefleet/tracefleet/internal/goldentest"
	"github.com/tracefleet/tracefleet/internal/sglang"
)

var update = flag.Bool("update", false, "write docs/collectable.md")

const collectableDoc = "../docs/collectable.md"

// TestCollectableDoc_IsUpToDate: docs/collectable.md is what planning answers for the definitions of ../shared/dataset.
func TestCollectableDoc_IsUpToDate(t *testing.T) {
	t.Parallel()
	defs, errs := fitrace.LoadDefinitions(goldentest.Shared(t, "dataset"))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	slices.SortFunc(defs, func(a, b *fitrace.Definition) int {
		return strings.Compare(a.OpType+"/"+a.Name, b.OpType+"/"+b.Name)
	})
	want := collectableTable(defs)
	if *update {
		if err := os.WriteFile(collectableDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(collectableDoc)
	if err != nil || string(got) != want {
		t.Errorf("%s is out of date (%v): run go test ./coordinator -run TestCollectableDoc -update", collectableDoc, err)
	}
}

// collectableTable returns the document: counts, a row for each definition, and the reasons that the rows refer to.
func collectableTable(defs []*fitrace.Definition) string {
	known := sglang.Known()
	newest := known[len(known)-1]
	var reasons, notes []string
	number := func(list *[]string, text string) int {
		i := slices.Index(*list, text)
		if i < 0 {
			i = len(*list)
			*list = append(*list, text)
		}
		return i + 1
	}
	cell := func(d *fitrace.Definition, gpu string) string {
		r := NewResolution(sglangOn(newest, gpu), DumpAuto, []*fitrace.Definition{d})
		rd := r.Definitions[0]
		if rd.Group == 0 {
			reason := r.Counts.Refused[0].Reason
			if rd.Instead != "" {
				reason += " (" + rd.Instead + " is called instead)"
			}
			return fmt.Sprintf("no: [%d](#reasons)", number(&reasons, reason))
		}
		dumps := "plans"
		if slices.ContainsFunc(rd.Include, func(p string) bool { return !strings.HasSuffix(p, ".plan") }) {
			dumps = "runs"
		}
		text := string(rd.Mode) + ", " + dumps
		for _, flag := range rd.Requires {
			text += ", `" + flag + "`"
		}
		if !rd.Collectable {
			text = "not known: " + text
		}
		for _, caution := range rd.Cautions {
			text += fmt.Sprintf("; [note %d](#notes)", number(&notes, caution))
		}
		return text
	}
	var rows strings.Builder
	for _, d := range defs {
		fmt.Fprintf(&rows, "| `%s` | %s | %s |\n", d.Name, cell(d, "h200"), cell(d, "b200"))
	}
	var doc strings.Builder
	fmt.Fprintf(&doc, "<!-- Generated: go test ./coordinator -run TestCollectableDoc -update -->\n# What SGLang %s can collect\n\n", newest)
	doc.WriteString("A definition is *reachable* if SGLang calls its function, and *collectable* if that call also binds: if it passes every input of the\n" +
		"definition in its element type. The table has the dataset's definitions on two kinds of GPU: H200 (SM90) and B200 (SM100). It follows from\n" +
		"[`apis.json`](../internal/reach/apis.json) and [`calls.json`](../internal/reach/calls.json), which were read from the released wheels; it was\n" +
		"not measured. `tracefleet definitions resolve --engine sglang` answers for other releases and for definitions of your own.\n\n" +
		"A cell has the mode of the engine, what `--dump auto` dumps, and the server flags that are passed.\n\n")
	for _, gpu := range []string{"h200", "b200"} {
		r := NewResolution(sglangOn(newest, gpu), DumpAuto, defs)
		fmt.Fprintf(&doc, "- %s: %s\n", strings.ToUpper(gpu), r.Summary()[0])
	}
	doc.WriteString("\n| definition | H200 | B200 |\n| --- | --- | --- |\n" + rows.String() + "\n## Reasons\n\n")
	for i, reason := range reasons {
		fmt.Fprintf(&doc, "%d. %s\n", i+1, reason)
	}
	doc.WriteString("\n## Notes\n\n")
	for i, note := range notes {
		fmt.Fprintf(&doc, "%d. %s\n", i+1, note)
	}
	return doc.String()
}
