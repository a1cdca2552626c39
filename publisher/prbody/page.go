// Package prbody writes what a pull request says of its workloads: what was collected, how, and what came of it. It is pure: the
// same Page gives the same text.
//
// All text that comes from elsewhere (model paths, flags, log lines) is made harmless: it cannot end a code block, make a table's
// cell, mention a user or refer to another pull request.
package prbody

import (
	"fmt"
	"strings"
	"unicode/utf16"

	"github.com/tracefleet/tracefleet/proto"
)

// Page is what a pull request's text is made from.
type Page struct {
	Collection   string // id
	Definition   string
	OpType       string
	APIs         []string // fi_api tags
	DefinitionPR string   // link to the pull request that brings the definition; may be empty
	Solution     string   // name of the baseline; empty: there is none
	Simulated    bool     // at least one workload is

	Engine   string            // sglang, replay or simulate
	Mode     string            // how the engine was driven; may be empty
	Model    string            // path or name; empty where Recorded is set
	GPU      string            // as the driver calls it; may be empty
	Versions map[string]string // of the engine and what it runs on
	Flags    []string          // of the server
	Traffic  string            // one line; empty where Recorded is set
	Recorded *Recorded         // what is known of dumps that were replayed; nil: the calls were made by Engine

	Batches    []Batch // in planned order
	Shapes     []Shape // in the order of the lines
	Skipped    int     // workloads that are left out, as the warnings say
	Untold     int     // more lines that the pull request has, of runs that nothing is known of
	Evaluation *proto.Evaluation
	Unproven   int      // other runs' workloads in the draft that have no passing trace
	Warnings   []string // what a check said that keeps nothing back
	Log        []string // lines
	LogPath    string   // where the whole log is in the repository, when it is too long for the text
}

// Recorded is what is known of calls that were made elsewhere: the distinct facts about the workloads.
type Recorded struct {
	Engine, Release, Model, GPU []Fact
}

// Fact is a value with its source.
type Fact struct {
	Text   string // empty: unknown
	Stated bool   // by the user; otherwise the dumps record it
}

// Batch is what became of the calls of one batch size.
type Batch struct {
	Size  int // requests in flight; 0: unknown
	Calls int // of the definition's API; the tally's sum
	Tally proto.Tally
}

// Shape is one workload.
type Shape struct {
	UUID  string
	Axes  string  // name=value, separated by blanks
	Batch int64   // requests; 0: the definition has no such axis
	KV    []int64 // KV length of each request, in tokens
	Calls int     // calls of the collection that had these axes, this one included
}

// The Hub's limits, in characters. Text is counted the way that gives more, bytes or UTF-16 units, since it is not said which.
const (
	mostText  = 65536
	mostTitle = 200
	// leastLog is what is left to the log at least; the rest of a text is far below the limit, but for many workloads.
	leastLog = 2000
)

const simulatedTitle = "SIMULATED: "

// SaysSimulated reports whether a title says that workloads are simulated.
func SaysSimulated(title string) bool { return strings.HasPrefix(title, simulatedTitle) }

// Title returns the pull request's title. It names no model that is unknown.
func Title(p *Page) string {
	title := fmt.Sprintf("Workloads of %s", p.Definition)
	if p.Simulated {
		title = simulatedTitle + title
	}
	switch {
	case p.Model != "":
		title += " from " + plain(p.Model)
	case p.Recorded != nil && len(p.Recorded.Model) == 1 && p.Recorded.Model[0].Stated:
		title += " from " + plain(p.Recorded.Model[0].Text) + stated
	}
	return cut(title, mostTitle)
}

// Check says where the numbers do not add up: a page that does not is never shown.
func (p *Page) Check() error {
	workloads := 0
	for _, b := range p.Batches {
		if b.Tally.Sum() != b.Calls {
			return fmt.Errorf("page of %s: batch size %d has %d calls, but %d are accounted for", p.Definition, b.Size, b.Calls, b.Tally.Sum())
		}
		workloads += b.Tally.Workload
	}
	// A call of equal content in another batch counts as a duplicate there, so that each line is one call. There may be more lines: those of a
	// task that was retried for another definition's sake.
	if workloads > len(p.Shapes)+p.Skipped {
		return fmt.Errorf("page of %s: %d calls became workloads, but there are %d lines", p.Definition, workloads, len(p.Shapes))
	}
	return nil
}

// Section gives what a page says in at most so many characters, and whether the log in it is cut: then the whole must be a file at LogPath.
func Section(p *Page, most int) (text string, logCut bool, err error) {
	if err := p.Check(); err != nil {
		return "", false, err
	}
	var b strings.Builder
	b.WriteString(Marker(p.Collection, p.Definition) + "\n")
	p.head(&b)
	p.numbers(&b)
	p.evaluated(&b)
	p.warned(&b)
	room := max(most-size(b.String())-200, leastLog)
	log, logCut := p.log(room)
	b.WriteString(p.logHeading() + "\n" + log)
	text = b.String()
	if size(text) > most {
		return "", false, fmt.Errorf("page of %s: its text without the log has %d characters, the Hub takes %d", p.Definition, size(text)-size(log), most)
	}
	return text, logCut, nil
}

// size counts characters as the Hub may.
func size(s string) int { return max(len(s), len(utf16.Encode([]rune(s)))) }
