package harvest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/tracefleet/tracefleet/internal/pyjson"
)

// render writes the definition as the dataset has its files: the schema's keys in its order, two spaces a level, ASCII.
func render(t *trace) []byte {
	w := writer{}
	w.open('{')
	w.str("name", t.name)
	w.text("description", t.description)
	w.str("op_type", t.opType)
	w.list("tags", t.tags)
	w.key("axes")
	w.open('{')
	for _, a := range t.axes {
		w.key(a.name)
		w.open('{')
		if a.isConst {
			w.str("type", "const")
			w.key("value")
			w.b = strconv.AppendInt(w.b, *a.value, 10)
		} else {
			w.str("type", "var")
		}
		w.text("description", a.description)
		w.close('}')
	}
	w.close('}')
	if len(t.constraints) > 0 {
		w.list("constraints", t.constraints)
	}
	w.tensors("inputs", t.inputs)
	w.tensors("outputs", t.outputs)
	w.str("reference", t.reference)
	w.close('}')
	var out bytes.Buffer
	if err := json.Indent(&out, w.b, "", "  "); err != nil {
		return w.b // no JSON: parsing it, which follows, says where
	}
	out.WriteByte('\n')
	return out.Bytes()
}

// writer builds compact JSON.
type writer struct {
	b    []byte
	more bool // something stands before, at this level
}

func (w *writer) comma() {
	if w.more {
		w.b = append(w.b, ',')
	}
	w.more = true
}

func (w *writer) open(c byte)  { w.b, w.more = append(w.b, c), false }
func (w *writer) close(c byte) { w.b, w.more = append(w.b, c), true }

func (w *writer) key(k string) {
	w.comma()
	w.b = append(pyjson.AppendString(w.b, k), ':')
}

func (w *writer) str(k, v string) {
	w.key(k)
	w.b = pyjson.AppendString(w.b, v)
}

// text writes v unless it is empty.
func (w *writer) text(k, v string) {
	if v != "" {
		w.str(k, v)
	}
}

func (w *writer) list(k string, values []string) {
	w.key(k)
	w.open('[')
	for _, v := range values {
		w.comma()
		w.b = pyjson.AppendString(w.b, v)
	}
	w.close(']')
}

func (w *writer) tensors(k string, list []tensor) {
	w.key(k)
	w.open('{')
	for _, t := range list {
		w.key(t.name)
		w.open('{')
		if t.scalar {
			w.key("shape")
			w.b = append(w.b, "null"...)
		} else {
			w.list("shape", t.shape)
		}
		w.str("dtype", t.dtype)
		w.text("description", t.description)
		w.close('}')
	}
	w.close('}')
}

// Markdown gives the report for a person to read.
func (r *Report) Markdown() []byte {
	var b bytes.Buffer
	c := r.Counts
	fmt.Fprintf(&b, "# Harvested definitions\n\n%d files of FlashInfer's trace dump: %d staged, %d duplicates, %d set aside.\n", c.Files, c.Staged, c.Duplicates, c.SetAside)
	b.WriteString("\nNothing here is in a dataset yet. Look at what was changed and at the doubts, then copy `definitions/` over.\n")
	r.section(&b, "Staged", Staged, func(e Entry) {
		fmt.Fprintf(&b, "\n### %s\n\n`%s`, from `%s`\n\n", code(e.Name), e.Path, code(e.Source))
		for _, ch := range e.Changes {
			fmt.Fprintf(&b, "- %s\n", ch)
		}
		for _, d := range e.Doubts {
			fmt.Fprintf(&b, "- **Doubt:** %s\n", line(d))
		}
		for _, n := range e.Notes {
			fmt.Fprintf(&b, "- Note: %s\n", line(n))
		}
	})
	r.section(&b, "Duplicates", Duplicate, func(e Entry) {
		fmt.Fprintf(&b, "- `%s` is `%s`: %s\n", code(e.Source), code(e.Of), line(e.Detail))
	})
	r.section(&b, "Set aside", SetAside, func(e Entry) {
		fmt.Fprintf(&b, "- `%s` (%s): %s", code(e.Source), e.Reason, line(e.Detail))
		if e.Path != "" {
			fmt.Fprintf(&b, ". Its text: `%s`", e.Path)
		}
		b.WriteByte('\n')
	})
	return b.Bytes()
}

func (r *Report) section(b *bytes.Buffer, title string, s Status, show func(Entry)) {
	empty := true
	for _, e := range r.Entries {
		if e.Status != s {
			continue
		}
		if empty {
			fmt.Fprintf(b, "\n## %s\n", title)
			if s != Staged {
				b.WriteByte('\n')
			}
		}
		empty = false
		show(e)
	}
}

// String says the change in a line.
func (c Change) String() string {
	switch {
	case c.From != "" && c.To != "":
		return fmt.Sprintf("`%s`: `%s` is now `%s`: %s", code(c.Field), code(c.From), code(c.To), line(c.Why))
	case c.To != "":
		return fmt.Sprintf("`%s`: `%s` %s", code(c.Field), code(c.To), line(c.Why))
	case c.From != "":
		return fmt.Sprintf("`%s` (`%s`): %s", code(c.Field), code(c.From), line(c.Why))
	}
	return fmt.Sprintf("`%s`: %s", code(c.Field), line(c.Why))
}

// code and line keep the text of a file from ending the code span or the line it is put into.
func code(s string) string { return strings.ReplaceAll(line(s), "`", "'") }

func line(s string) string { return strings.Join(strings.Fields(s), " ") }
