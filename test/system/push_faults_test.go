package system_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tracefleet/tracefleet/publisher/hub/hubtest"
)

// part is the size above which blobs go in parts: those of batch size 8 do, in two, and others do not.
const part = 16000

// pushRig is a Hub, and the directories of one collection that is pushed to it.
type pushRig struct {
	t              *testing.T
	name           string
	hub            *hubtest.Server
	dataset, state string
}

// newPushRig has both definitions' files begin with a simulated line of somebody else's: the blobs there are asked for then, however many
// batches go as one because a fault held up the first.
func newPushRig(t *testing.T, name string) *pushRig {
	theirs := map[string][]byte{}
	for opType, definition := range map[string]string{"gqa_paged": "gqa_paged_decode_h32_kv8_d128_ps1", "sampling": sampling} {
		file := opType + "/" + definition + ".jsonl"
		theirs["workloads/"+file] = []byte(`{"definition": "` + definition + `", "solution": null, "workload": {"uuid": "theirs", "axes": {}, "inputs": {}}, "evaluation": null}` + "\n")
		theirs["provenance/"+file] = []byte(`{"uuid": "theirs", "simulated": true, "calls_with_content": 1, "calls_with_shape": 1}` + "\n")
	}
	return &pushRig{t, name, hubtest.New(t, hubtest.Options{ChunkSize: part, Verify: true, Seed: theirs}), newDataset(t), filepath.Join(t.TempDir(), "state")}
}

// run has the collection run, or go on, gives its exit code, and fails where that is none of these.
func (r *pushRig) run(ctx context.Context, want ...int) int {
	out, errs, code := runIn(ctx, r.t, env(r.hub), pushArgs(r.dataset, r.state, "--no-eval")...)
	if !slices.Contains(want, code) {
		r.t.Errorf("%s: exit %d, want one of %d\n%s\n%s", r.name, code, want, out, errs)
	}
	return code
}

var collectionID = regexp.MustCompile(`\bc-[0-9a-f]{12}\b`)

// end returns everything that is on the Hub, but for what no two runs have in common: the collection's id and the log.
func (r *pushRig) end() map[string]string {
	all := map[string]string{}
	for _, pr := range r.hub.PRs() {
		text, _, _ := strings.Cut(collectionID.ReplaceAllString(pr.Description, "c-"), "## Collection Log")
		all[fmt.Sprintf("pull request %d", pr.Num)] = strings.Join(append([]string{pr.Title, pr.Status, text}, pr.Comments...), "\n")
		files, err := r.hub.Files(fmt.Sprintf("refs/pr/%d", pr.Num))
		if err != nil {
			r.t.Errorf("%s: %v", r.name, err)
		}
		for path, data := range files {
			all[fmt.Sprintf("%s in pull request %d", path, pr.Num)] = collectionID.ReplaceAllString(string(data), "c-")
		}
	}
	return all
}

// same fails where the Hub has anything else than at the end of an undisturbed run.
func (r *pushRig) same(want map[string]string) {
	got := r.end()
	for what, text := range want {
		if got[what] != text {
			r.t.Errorf("%s: %s is\n%.600q\nwant\n%.600q", r.name, what, got[what], text)
		}
	}
	for what := range got {
		if _, there := want[what]; !there {
			r.t.Errorf("%s: there is %s", r.name, what)
		}
	}
}

// again gives how many bytes of each blob came to storage more than once, by the blob's SHA-256, and the blobs' sizes.
func (r *pushRig) again() (more, sizes map[string]int64) {
	more, sizes = map[string]int64{}, map[string]int64{}
	for path, data := range publishable(r.t, r.dataset) {
		if strings.HasPrefix(path, "blob/") {
			sum := sha256.Sum256([]byte(data))
			oid := hex.EncodeToString(sum[:])
			sizes[oid] = int64(len(data))
			more[oid] = r.hub.Received(oid) - sizes[oid]
		}
	}
	return more, sizes
}

// point is a request of a kind, counted from 1, and what happens to it.
type point struct {
	kind hubtest.Kind
	nth  int
	hubtest.Action
}

// kill runs the collection, ends it with SIGKILL at the point's request, and gives that request's path; "" where the run made fewer.
func (r *pushRig) kill(p point) (path string, ok bool) {
	ctx, kill := context.WithCancel(r.t.Context())
	defer kill()
	gone := make(chan struct{})
	var mu sync.Mutex
	n := 0
	r.hub.Fault(func(req *http.Request, _ int) hubtest.Action {
		mu.Lock()
		defer mu.Unlock()
		if hubtest.KindOf(req) != p.kind {
			return hubtest.Action{}
		}
		if n++; n != p.nth {
			return hubtest.Action{}
		}
		body, _ := io.ReadAll(req.Body) // the process lives until all of it is sent
		req.Body = io.NopCloser(bytes.NewReader(body))
		*req = *req.WithContext(context.WithoutCancel(req.Context())) // only gone ends the wait, so the effect is there before the next run
		path = req.URL.Path
		kill()
		return hubtest.Action{When: p.When, Wait: gone, Cut: true}
	})
	defer r.hub.Fault(nil)
	code := r.run(ctx, -1, 0)
	if ctx.Err() == nil {
		return "", code == 0
	}
	gone <- struct{}{}
	if code != -1 {
		r.t.Errorf("%s: it ended with exit %d before it was killed", r.name, code)
	}
	return path, code == -1
}

// The process is killed with SIGKILL before and after the first and the last request of every kind that an undisturbed run makes. Run
// again, it ends as the undisturbed one, and nothing is there twice.
func TestPush_Killed(t *testing.T) {
	t.Parallel()
	quiet := newPushRig(t, "undisturbed")
	if quiet.run(t.Context(), 0) != 0 {
		return
	}
	want := quiet.end()
	slots := make(chan struct{}, 32) // most wait: for the broker to give out again what a killed process had in work
	var wg sync.WaitGroup
	for kind, count := range quiet.hub.Counts() {
		for _, nth := range []int{1, count}[:min(count, 2)] {
			for when, name := range map[hubtest.When]string{hubtest.Before: "before", hubtest.After: "after"} {
				wg.Go(func() {
					slots <- struct{}{}
					defer func() { <-slots }()
					p := point{kind, nth, hubtest.Action{When: when}}
					for ; p.nth > 0; p.nth-- { // a slow run makes fewer: two batches go as one
						r := newPushRig(t, fmt.Sprintf("killed %s %s %d of %d", name, kind, p.nth, count))
						path, ok := r.kill(p)
						if ok && path == "" {
							continue
						}
						if ok && r.run(t.Context(), 0) == 0 {
							r.same(want)
							r.sentOnce(kind, when, path)
						}
						return
					}
					t.Errorf("killed %s %s: no run made one", name, kind)
				})
			}
		}
	}
	wg.Wait()
}

// sentOnce fails where a kill had more sent again than it may: of what storage had whole, or whose parts had all been
// answered for, nothing, and of a blob in work each byte once: it may have been sent in several parts at a time.
func (r *pushRig) sentOnce(kind hubtest.Kind, when hubtest.When, path string) {
	more, sizes := r.again()
	for oid, n := range more {
		most := sizes[oid]
		switch kind {
		case hubtest.PutObject:
			if when == hubtest.After && strings.Contains(path, oid) {
				most = 0
			}
		case hubtest.LFSComplete:
			if strings.Contains(path, oid) {
				most = 0
			}
		case hubtest.PutPart, hubtest.LFSVerify:
		default:
			most = 0
		}
		if n < 0 || n > most {
			r.t.Errorf("%s: of a blob of %d bytes %d were sent again, want at most %d", r.name, sizes[oid], n, most)
		}
	}
}

// What the Hub and the network do to a process that lives: it waits, asks, and sends again what has to be, in one run.
func TestPush_Faults(t *testing.T) {
	t.Parallel()
	quiet := newPushRig(t, "undisturbed")
	if quiet.run(t.Context(), 0) != 0 {
		return
	}
	want := quiet.end()
	quota := hubtest.CommitQuota()
	quota.Body = strings.Replace(quota.Body, "1 hour", "1 second", 1)
	lost := []point{}
	for kind := range quiet.hub.Counts() {
		lost = append(lost, point{kind, 1, hubtest.Action{When: hubtest.After, Cut: true}})
	}
	landed := hubtest.Action{When: hubtest.After, Status: http.StatusInternalServerError}
	for name, points := range map[string][]point{
		"lost answers": lost,
		"refusals": {
			{hubtest.Whoami, 2, hubtest.RateLimited(0)}, {hubtest.Preupload, 1, hubtest.RetryLater(http.StatusTooManyRequests, 0)},
			{hubtest.LFSBatch, 1, hubtest.RetryLater(http.StatusServiceUnavailable, 0)},
			{hubtest.CreatePR, 1, hubtest.RateLimited(0)}, {hubtest.CreatePR, 2, landed},
			{hubtest.MakeCommit, 1, hubtest.Action{Status: http.StatusConflict}}, {hubtest.MakeCommit, 2, hubtest.Action{Status: http.StatusPreconditionFailed}},
			{hubtest.MakeCommit, 3, landed}, {hubtest.MakeCommit, 4, quota}, {hubtest.MakeCommit, 5, hubtest.RateLimited(0)}, {hubtest.MakeCommit, 6, landed},
			{hubtest.PutObject, 1, hubtest.Action{CutBody: 100}}, {hubtest.PutPart, 2, hubtest.Action{CutBody: part / 4}},
			{hubtest.EditComment, 1, landed}, {hubtest.SetStatus, 1, landed}, {hubtest.SetStatus, 2, hubtest.RetryLater(http.StatusTooManyRequests, 0)},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newPushRig(t, name)
			fired := r.disturb(points)
			if r.run(t.Context(), 0) != 0 {
				return
			}
			r.same(want)
			cuts := 0
			for i, p := range points {
				if !fired[i] {
					t.Errorf("nothing happened to %s %d", p.kind, p.nth)
				}
				if p.CutBody > 0 || p.Cut && p.kind == hubtest.PutObject || p.Cut && p.kind == hubtest.PutPart {
					cuts++
				}
			}
			more, _ := r.again()
			for _, n := range more {
				if n > 0 {
					cuts--
				}
				if n < 0 || n > part {
					t.Errorf("%d bytes of a blob were sent again, a part has %d", n, part)
				}
			}
			if cuts < 0 {
				t.Errorf("more blobs were sent again than uploads were cut: %v", more)
			}
		})
	}
}

// disturb has the points' faults happen; which did is known when the run is over.
func (r *pushRig) disturb(points []point) (fired []bool) {
	fired = make([]bool, len(points))
	var mu sync.Mutex
	counts := map[hubtest.Kind]int{}
	r.hub.Fault(func(req *http.Request, _ int) hubtest.Action {
		mu.Lock()
		defer mu.Unlock()
		kind := hubtest.KindOf(req)
		counts[kind]++
		for i, p := range points {
			if p.kind == kind && p.nth == counts[kind] {
				fired[i] = true
				return p.Action
			}
		}
		return hubtest.Action{}
	})
	return fired
}
