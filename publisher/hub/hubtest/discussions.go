package hubtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// discussion is a pull request, or a discussion without one, as it is stored.
type discussion struct {
	Num         int       `json:"num"`
	Title       string    `json:"title"`
	Status      string    `json:"status"` // draft, open, closed or merged
	PullRequest bool      `json:"pullRequest"`
	Author      string    `json:"author"`
	CreatedAt   time.Time `json:"createdAt"`
	Events      []event   `json:"events"`
	Start       string    `json:"start"` // commit on which the pull request was made
	Merged      string    `json:"merged,omitempty"`
}

type event struct {
	ID        string          `json:"id"`
	Type      string          `json:"type"`
	CreatedAt time.Time       `json:"createdAt"`
	Author    string          `json:"author"`
	Data      json.RawMessage `json:"data"`
}

type commentData struct {
	Edited bool `json:"edited"`
	Hidden bool `json:"hidden"`
	Latest struct {
		Raw       string `json:"raw"`
		HTML      string `json:"html"`
		UpdatedAt string `json:"updatedAt"`
	} `json:"latest"`
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func (d *discussion) ref() string { return "refs/pr/" + strconv.Itoa(d.Num) }

func (d *discussion) url(h *hub) string {
	return fmt.Sprintf("%s/datasets/%s/discussions/%d", h.base(), h.o.Repo, d.Num)
}

// description gives the first comment.
func (d *discussion) description() string {
	for _, e := range d.Events {
		if e.Type == "comment" {
			return e.comment().Latest.Raw
		}
	}
	return ""
}

func (e *event) comment() (c commentData) {
	_ = json.Unmarshal(e.Data, &c)
	return c
}

// ofRef gives the pull request whose ref this is, or nil.
func (h *hub) ofRef(ref string) *discussion {
	n, err := strconv.Atoi(strings.TrimPrefix(ref, "refs/pr/"))
	if err != nil || !strings.HasPrefix(ref, "refs/pr/") {
		return nil
	}
	return h.discuss[n]
}

func (h *hub) save(d *discussion) error {
	return h.store.writeJSON(d, discussionDir, strconv.Itoa(d.Num)+".json")
}

// newDiscussion makes a discussion; what it starts with is its description.
func (h *hub) newDiscussion(author, title, description string, pr bool) (*discussion, error) {
	d := &discussion{Num: h.state.Next, Title: title, Status: "open", PullRequest: pr, Author: author, CreatedAt: h.o.Now().UTC()}
	if pr {
		d.Status, d.Start = "draft", h.state.Refs[mainRef]
		h.state.Refs[d.ref()] = d.Start
	}
	h.discuss[d.Num] = d
	if _, err := h.say(d, author, description); err != nil {
		return nil, err
	}
	h.state.Next++
	return d, h.store.writeJSON(&h.state, stateName)
}

// say adds a comment.
func (h *hub) say(d *discussion, author, text string) (*event, error) {
	var c commentData
	c.Latest.Raw, c.Latest.HTML, c.Latest.UpdatedAt = text, string(markdown(text)), stamp(h.o.Now())
	err := h.addEvent(d, "comment", author, c)
	return &d.Events[len(d.Events)-1], err
}

func (h *hub) addEvent(d *discussion, kind, author string, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return err
	}
	h.state.Event++
	id := gitOID("blob", fmt.Appendf(nil, "event %d", h.state.Event))[:24]
	d.Events = append(d.Events, event{ID: id, Type: kind, CreatedAt: h.o.Now().UTC(), Author: author, Data: raw})
	return h.save(d)
}

// find gives the discussion that a request is of.
func (h *hub) find(q *request) (*discussion, error) {
	n, err := strconv.Atoi(q.PathValue("num"))
	if d := h.discuss[n]; err == nil && d != nil {
		return d, nil
	}
	return nil, notFound("", "Discussion not found")
}

// owned is find for what only the author and who may write to the repository may do.
func (h *hub) owned(q *request) (*discussion, error) {
	d, err := h.find(q)
	if err == nil && d.Author != q.user.Name && !q.user.Writer {
		return nil, refused(http.StatusForbidden, "Forbidden: this is another's")
	}
	return d, err
}

func checkText(what, text string, least, most int) error {
	if n := utf8.RuneCountInString(text); n < least || n > most {
		return refused(http.StatusUnprocessableEntity, "%s has %d characters, must have %d to %d", what, n, least, most)
	}
	return nil
}

func (h *hub) createDiscussion(q *request) (any, error) {
	var body struct {
		Title       string `json:"title"`
		Description string `json:"description"`
		PullRequest bool   `json:"pullRequest"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	if err := checkText("title", body.Title, 3, 200); err != nil {
		return nil, err
	}
	if err := checkText("description", body.Description, 1, 65536); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.newDiscussion(q.user.Name, body.Title, body.Description, body.PullRequest)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"num": d.Num, "url": d.url(h), "pullRequest": d.PullRequest}
	if d.PullRequest {
		answer["references"] = map[string]string{"base": mainRef}
	}
	return answer, nil
}

func (d *discussion) summary(h *hub) map[string]any {
	return map[string]any{
		"num": d.Num, "title": d.Title, "status": d.Status, "isPullRequest": d.PullRequest, "createdAt": stamp(d.CreatedAt),
		"author": map[string]string{"name": d.Author}, "repo": map[string]string{"name": h.o.Repo, "type": "dataset"},
	}
}

// discussionsPage is how many discussions a page of their list has.
const discussionsPage = 50

func (h *hub) listDiscussions(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	page, err := q.number("p", 0, 0)
	if err != nil {
		return nil, err
	}
	query := q.URL.Query()
	var all []*discussion
	for _, d := range h.discuss {
		open := d.Status == "open" || d.Status == "draft"
		switch {
		case query.Get("type") == "pull_request" && !d.PullRequest, query.Get("type") == "discussion" && d.PullRequest:
		case query.Get("status") == "open" && !open, query.Get("status") == "closed" && open:
		case query.Get("author") != "" && !strings.EqualFold(query.Get("author"), d.Author):
		case !strings.Contains(strings.ToLower(d.Title), strings.ToLower(query.Get("search"))):
		default:
			all = append(all, d)
		}
	}
	slices.SortFunc(all, func(a, b *discussion) int { return b.Num - a.Num })
	size := min(discussionsPage, h.o.PageSize)
	start := min(min(page, len(all))*size, len(all))
	items := []map[string]any{}
	for _, d := range all[start:min(start+size, len(all))] {
		items = append(items, d.summary(h))
	}
	return map[string]any{"discussions": items, "count": len(all), "start": start, "numClosedDiscussions": 0}, nil
}

func (h *hub) getDiscussion(q *request) (any, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.find(q)
	if err != nil {
		return nil, err
	}
	answer := d.summary(h)
	events := []any{}
	for i := range d.Events {
		events = append(events, d.Events[i].answer())
	}
	answer["events"] = events
	if d.PullRequest {
		answer["filesWithConflicts"] = []string{}
		changes := map[string]any{"base": mainRef}
		if d.Merged != "" {
			changes["mergeCommitId"] = d.Merged
		}
		// As on the Hub, the head is named once there is a commit.
		if head := h.state.Refs[d.ref()]; head != d.Start {
			changes["headCommitId"] = head
		}
		answer["changes"] = changes
		answer["diff"] = ""
	}
	return answer, nil
}

func (e *event) answer() map[string]any {
	return map[string]any{
		"id": e.ID, "type": e.Type, "createdAt": stamp(e.CreatedAt), "author": map[string]string{"name": e.Author}, "data": e.Data,
	}
}
