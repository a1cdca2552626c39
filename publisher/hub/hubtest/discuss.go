package hubtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// What changes a discussion.

func (h *hub) addComment(q *request) (any, error) {
	var body struct {
		Comment string `json:"comment"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	if err := checkText("comment", body.Comment, 1, 65536); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.find(q)
	if err != nil {
		return nil, err
	}
	e, err := h.say(d, q.user.Name, body.Comment)
	if err != nil {
		return nil, err
	}
	writeJSON(q.w, http.StatusCreated, map[string]any{"newMessage": e.answer()})
	return nil, nil
}

func (h *hub) editComment(q *request) (any, error) {
	var body struct {
		Content string `json:"content"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	if err := checkText("content", body.Content, 1, 65536); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.owned(q)
	if err != nil {
		return nil, err
	}
	id := q.PathValue("event")
	for i := range d.Events {
		e := &d.Events[i]
		if e.ID != id || e.Type != "comment" {
			continue
		}
		c := e.comment()
		c.Edited, c.Latest.Raw, c.Latest.HTML, c.Latest.UpdatedAt = true, body.Content, string(markdown(body.Content)), stamp(h.o.Now())
		if e.Data, err = json.Marshal(c); err != nil {
			return nil, err
		}
		return map[string]any{"updatedComment": e.answer()}, h.save(d)
	}
	return nil, notFound("", "Comment not found")
}

func (h *hub) setTitle(q *request) (any, error) {
	var body struct {
		Title string `json:"title"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	if err := checkText("title", body.Title, 3, 200); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.owned(q)
	if err != nil {
		return nil, err
	}
	from := d.Title
	d.Title = body.Title
	err = h.addEvent(d, "title-change", q.user.Name, map[string]string{"from": from, "to": d.Title})
	return map[string]any{"newTitle": d.Events[len(d.Events)-1].answer()}, err
}

func (h *hub) setStatus(q *request) (any, error) {
	var body struct {
		Status  string `json:"status"`
		Comment string `json:"comment"`
	}
	if err := h.read(q, &body); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.owned(q)
	switch {
	case err != nil:
		return nil, err
	case body.Status != "open" && body.Status != "closed":
		h.violate("status %q: the Hub knows open and closed only", body.Status)
		return nil, refused(http.StatusUnprocessableEntity, "status must be open or closed")
	case d.Status == "merged" || d.Status == body.Status:
		return nil, refused(http.StatusBadRequest, "This pull request is %s already", d.Status)
	}
	if body.Comment != "" {
		if _, err := h.say(d, q.user.Name, body.Comment); err != nil {
			return nil, err
		}
	}
	d.Status = body.Status
	err = h.addEvent(d, "status-change", q.user.Name, map[string]string{"status": d.Status})
	return map[string]any{"newStatus": d.Events[len(d.Events)-1].answer()}, err
}

func (h *hub) merge(q *request) (any, error) {
	data, err := io.ReadAll(q.Body)
	if err != nil {
		return nil, badBody(err)
	}
	var body struct {
		Comment string `json:"comment"`
	}
	if len(data) > 0 {
		if err := strict(data, &body); err != nil {
			return nil, refused(http.StatusUnprocessableEntity, "%v", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d, err := h.find(q)
	if err != nil {
		return nil, err
	}
	if !q.user.Writer {
		return nil, refused(http.StatusForbidden, "Forbidden: only who may write to the repository may merge")
	}
	if err := h.mergeNow(d, q.user.Name); err != nil {
		return nil, err
	}
	return map[string]any{}, nil
}

// mergeNow puts a pull request's changes on the default branch, as one commit.
func (h *hub) mergeNow(d *discussion, by string) error {
	commits, err := h.history(h.state.Refs[d.ref()], d.Start)
	switch {
	case err != nil:
		return err
	case d.Status != "open":
		return refused(http.StatusBadRequest, "This pull request is %s and cannot be merged", d.Status)
	case len(commits) == 0:
		return refused(http.StatusBadRequest, "This pull request has no associated changes")
	}
	now, err := h.tree(h.state.Refs[mainRef])
	if err != nil {
		return err
	}
	before, err := h.tree(d.Start)
	if err != nil {
		return err
	}
	c := &Commit{Author: by, Summary: fmt.Sprintf("%s (#%d)", d.Title, d.Num), Changes: map[string]*entry{}}
	var conflicts []string
	for i := len(commits) - 1; i >= 0; i-- {
		for path, e := range commits[i].Changes {
			c.Changes[path] = e
		}
	}
	for path, e := range c.Changes {
		if now[path] != before[path] && (e == nil || now[path] != *e) {
			conflicts = append(conflicts, path)
		}
	}
	if len(conflicts) > 0 {
		return refused(http.StatusConflict, "This pull request has conflicts: %s", strings.Join(conflicts, ", "))
	}
	if err := h.addCommit(mainRef, c); err != nil {
		return err
	}
	d.Status, d.Merged = "merged", c.OID
	return h.addEvent(d, "status-change", by, map[string]string{"status": "merged"})
}
