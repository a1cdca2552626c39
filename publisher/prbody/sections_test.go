package prbody

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// section is one of a collection, with a log of so many lines.
func section(t *testing.T, collection string, lines, most int) string {
	t.Helper()
	p := sample()
	p.Collection, p.Log = collection, nil
	for i := range lines {
		p.Log = append(p.Log, fmt.Sprintf("00:00:00 %s line %d", collection, i))
	}
	text, _, err := Section(p, most)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Each collection has its section, whatever the order and however often they are written.
func TestMerge(t *testing.T) {
	t.Parallel()
	a, b, c := section(t, "c-a", 3, mostText), section(t, "c-b", 2, mostText), section(t, "c-c", 1, mostText)
	if got := Merge("", a); got != a {
		t.Errorf("alone it is\n%s", got)
	}
	text := Merge(Merge(Merge("", a), b), c)
	if collections, _ := Marks(text); !slices.Equal(collections, []string{"c-a", "c-b", "c-c"}) {
		t.Errorf("the text is of %v", collections)
	}
	for _, s := range []string{a, b, c} {
		if again := Merge(text, s); again != text {
			t.Errorf("written again it is\n%s", again)
		}
		if !strings.Contains(text, s) {
			t.Errorf("a section is not as it was written:\n%s", s)
		}
	}
	longer := section(t, "c-b", 9, mostText)
	if got := Merge(Merge(text, longer), b); got != text {
		t.Errorf("there and back it is\n%s", got)
	}
	if collections, definition := Marks("Not ours."); collections != nil || definition != "" {
		t.Errorf("another's text is taken for one of %v", collections)
	}
	noted := "**Please look at u7.**\r\n" + strings.ReplaceAll(a, "\n", "\r\n") // as a browser's form sends it
	if got := Merge(noted, b); !strings.HasPrefix(got, "**Please look at u7.**\r\n<!-- tracefleet") || !strings.HasSuffix(got, b) {
		t.Errorf("with a note above it is\n%s", got)
	}
	if got := Merge(noted, a); got != "**Please look at u7.**\r\n"+a {
		t.Errorf("with a note above, written again, it is\n%q", got)
	}
}

// What does not fit is left out of the oldest first, and never of the newest.
func TestMerge_Long(t *testing.T) {
	t.Parallel()
	text := ""
	var last string
	for i := range 40 {
		collection := fmt.Sprintf("c-%d", i)
		last = section(t, collection, 3000, Room(Others(text, collection, sample().Definition)))
		text = Merge(text, last)
		if size(text) > mostText {
			t.Fatalf("%d characters after %d", size(text), i+1)
		}
		if !strings.HasSuffix(text, last) {
			t.Fatalf("the newest section was cut after %d", i+1)
		}
	}
	collections, _ := Marks(text)
	if len(collections) < 5 || collections[len(collections)-1] != "c-39" || !strings.Contains(text, "Left out: the text would be too long") {
		t.Errorf("the text is of %v", collections)
	}
}
