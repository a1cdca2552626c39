package hubtest

import (
	"fmt"
	"net/http"
	"strings"
)

// Kind is what a request asks for.
type Kind string

// The kinds of requests.
const (
	Whoami        Kind = "whoami"
	ValidateYAML  Kind = "validate-yaml"
	Preupload     Kind = "preupload"
	MakeCommit    Kind = "commit"
	ListTree      Kind = "tree"
	PathsInfo     Kind = "paths-info"
	Revision      Kind = "revision"
	ListCommits   Kind = "commits"
	ListRefs      Kind = "refs"
	Resolve       Kind = "resolve"
	ListPRs       Kind = "discussions"
	GetPR         Kind = "discussion"
	CreatePR      Kind = "create"
	Comment       Kind = "comment"
	EditComment   Kind = "edit"
	SetTitle      Kind = "title"
	SetStatus     Kind = "status"
	Merge         Kind = "merge"
	LFSBatch      Kind = "lfs-batch"
	LFSVerify     Kind = "lfs-verify"
	LFSComplete   Kind = "lfs-complete"
	PutObject     Kind = "put"
	PutPart       Kind = "put-part"
	GetObject     Kind = "get"
	Page          Kind = "page"
	Harmless      Kind = "harmless" // what the official client asks and can do without
	UnknownToHere Kind = "unknown"
)

const (
	api = "/api/datasets/{ns}/{name}"
	web = "/datasets/{ns}/{name}"
)

// route is a kind of request: who may ask, and who answers.
type route struct {
	kind    Kind
	pattern string
	open    bool // whoever asks: what is signed, and what has no owner
	handle  func(*hub, *request) (any, error)
}

var routes = []route{
	{Whoami, "GET /api/whoami-v2", false, (*hub).whoami},
	{ValidateYAML, "POST /api/validate-yaml", true, (*hub).validateYAML},
	{Harmless, "GET /api/agent-harnesses", true, (*hub).nothing},
	{Revision, "GET " + api, false, (*hub).revision},
	{Revision, "GET " + api + "/revision/{rev}", false, (*hub).revision},
	{Preupload, "POST " + api + "/preupload/{rev}", false, (*hub).preupload},
	{MakeCommit, "POST " + api + "/commit/{rev}", false, (*hub).makeCommit},
	{ListTree, "GET " + api + "/tree/{rev}", false, (*hub).listTree},
	{ListTree, "GET " + api + "/tree/{rev}/{dir...}", false, (*hub).listTree},
	{PathsInfo, "POST " + api + "/paths-info/{rev}", false, (*hub).pathsInfo},
	{ListCommits, "GET " + api + "/commits/{rev}", false, (*hub).listCommits},
	{ListRefs, "GET " + api + "/refs", false, (*hub).listRefs},
	{ListPRs, "GET " + api + "/discussions", false, (*hub).listDiscussions},
	{CreatePR, "POST " + api + "/discussions", false, (*hub).createDiscussion},
	{GetPR, "GET " + api + "/discussions/{num}", false, (*hub).getDiscussion},
	{Comment, "POST " + api + "/discussions/{num}/comment", false, (*hub).addComment},
	{EditComment, "POST " + api + "/discussions/{num}/comment/{event}/edit", false, (*hub).editComment},
	{SetTitle, "POST " + api + "/discussions/{num}/title", false, (*hub).setTitle},
	{SetStatus, "POST " + api + "/discussions/{num}/status", false, (*hub).setStatus},
	{Merge, "POST " + api + "/discussions/{num}/merge", false, (*hub).merge},
	{LFSBatch, "POST " + web + "/info/lfs/objects/batch", false, (*hub).lfsBatch},
	{LFSVerify, "POST " + web + "/info/lfs/verify", false, (*hub).lfsVerify},
	{LFSComplete, "POST " + web + "/info/lfs/complete/{oid}", true, (*hub).lfsComplete},
	{Resolve, "GET " + web + "/resolve/{rev}/{path...}", false, (*hub).resolveFile},
	{Page, "GET /{$}", true, (*hub).frontPage},
	{Page, "GET " + web, false, (*hub).repoPage},
	{Page, "GET " + web + "/discussions", false, (*hub).listPage},
	{Page, "GET " + web + "/discussions/{num}", false, (*hub).prPage},
	{Page, "GET " + web + "/commits/{rev}", false, (*hub).commitsPage},
	{Page, "GET " + web + "/commit/{rev}", false, (*hub).commitPage},
	{Page, "GET " + web + "/tree/{rev}", false, (*hub).treePage},
	{Page, "GET " + web + "/tree/{rev}/{dir...}", false, (*hub).treePage},
	{Page, "GET " + web + "/blob/{rev}/{path...}", false, (*hub).blobPage},
}

var storage = []route{
	{PutObject, "PUT /objects/{oid}", true, (*hub).putObject},
	{PutPart, "PUT /parts/{oid}/{part}", true, (*hub).putPart},
	{GetObject, "GET /objects/{oid}", true, (*hub).getObject},
}

func hubRoutes(h *hub) *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range routes {
		mux.Handle(r.pattern, h.handler(r))
	}
	mux.Handle("/api/", h.handler(route{kind: UnknownToHere, open: true, handle: (*hub).unknown}))
	mux.Handle("/", h.handler(route{kind: Page, open: true, handle: (*hub).noPage}))
	return mux
}

func storageRoutes(h *hub) *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range storage {
		mux.Handle(r.pattern, h.handler(r))
	}
	mux.Handle("/", h.handler(route{kind: UnknownToHere, open: true, handle: (*hub).unknown}))
	return mux
}

// kinds finds the kind of a request by the same patterns, for KindOf.
var kinds = func() *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range append(append([]route{}, routes...), storage...) {
		mux.Handle(r.pattern, kindHandler(r.kind))
	}
	return mux
}()

type kindHandler Kind

func (kindHandler) ServeHTTP(http.ResponseWriter, *http.Request) {}

// KindOf tells what a request asks for.
func KindOf(r *http.Request) Kind {
	handler, _ := kinds.Handler(r)
	if k, ok := handler.(kindHandler); ok {
		return Kind(k)
	}
	return UnknownToHere
}

// around counts a request and lets the fault happen to it.
func (h *hub) around(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.requests++
		n, fault := h.requests, h.fault
		h.counts[KindOf(r)]++
		h.mu.Unlock()
		var a Action
		if fault != nil {
			a = fault(r, n)
		}
		w.Header().Set("X-Request-Id", fmt.Sprintf("Root=1-%08x", n))
		a.act(w, r, next)
	})
}

// handler checks what holds for all requests, and writes the answer.
func (h *hub) handler(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{Request: r, w: w, kind: rt.kind}
		answer, err := h.answer(rt, q)
		switch {
		case err != nil:
			h.refuse(q, err)
		case answer != nil:
			writeJSON(w, http.StatusOK, answer)
		}
	})
}

func (h *hub) answer(rt route, q *request) (any, error) {
	if err := h.admit(rt, q); err != nil {
		return nil, err
	}
	if ns := q.PathValue("ns"); ns != "" {
		id := ns + "/" + strings.TrimSuffix(q.PathValue("name"), ".git")
		switch {
		case id == h.o.Repo:
		case strings.EqualFold(id, h.o.Repo): // as the Hub does, which makes careless clients lose the body
			moved := strings.Replace(q.URL.String(), "/"+id, "/"+h.o.Repo, 1)
			http.Redirect(q.w, q.Request, h.base()+moved, http.StatusTemporaryRedirect)
			return nil, nil
		default:
			return nil, notFound("RepoNotFound", "Repository not found")
		}
	}
	return rt.handle(h, q)
}

func (h *hub) nothing(*request) (any, error) { return nil, notFound("", "Not Found") }

func (h *hub) unknown(q *request) (any, error) {
	h.note("%s %s is answered by nobody", q.Method, q.URL.Path)
	return nil, notFound("", "Not Found")
}

// note is violate for who does not hold mu.
func (h *hub) note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.violate(format, args...)
}
