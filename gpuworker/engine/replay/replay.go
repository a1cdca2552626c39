// Package replay is an engine that plays recorded dumps: a directory FlashInfer wrote, or a tar of one (plain, gzip, zstd or
// xz), through the same path as a live engine. It is also how dumps that someone already has are imported.
//
// # Flow
//
// The source is opened, an archive unpacked into a staging directory below the dump directory (source.go, archive.go). Every
// directory in it that holds dumps is a recording. Each recording's session.jsonl is played line by line: what the logger
// had written when it logged that line appears, then the line itself (script.go). Dumps that the session does not name appear
// by their timestamps; what is left at the end appears then, stray files too.
//
// # Guarantees
//
// The source stays untouched. Files are hard links of it where the file system allows, else copies with their holes kept; what
// grows while it is played (metadata.jsonl, session.jsonl) is always written anew, never through a link. At the end every
// file has the recorded bytes, whatever is wrong with it: nothing is judged, repaired or filtered here. A dump is not touched
// again once its last record is played, so that the tailer may delete it.
//
// # What it does not do
//
// It does not select by definition or dump pattern, and does not follow symbolic links.
package replay

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/time/rate"

	"github.com/tracefleet/tracefleet/gpuworker/engine"
)

// progressEvery is how often at most progress is reported.
const progressEvery = 100 * time.Millisecond

// Engine plays recordings.
type Engine struct{}

// New makes the engine.
func New() *Engine { return &Engine{} }

// Run implements engine.Engine. Task fields it follows: the engine's dump_dir (the recording) and dump_rate.
func (*Engine) Run(ctx context.Context, job engine.Job, report func(engine.Progress)) (result engine.Result, err error) {
	began := time.Now()
	defer func() {
		result.EngineSeconds = time.Since(began).Seconds()
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = fmt.Errorf("replay: stopped after %d dumps: %w", result.Dumps, cause)
		}
	}()
	src, err := open(ctx, job.Task.Engine.DumpDir, job.DumpDir, func(text string) { report(engine.Progress{Text: text}) })
	if err != nil {
		return result, err
	}
	defer func() {
		if closeErr := src.close(); closeErr != nil && err == nil {
			err = closeErr
		}
	}()
	p := &player{ctx: ctx, job: &job, report: report, place: src.place, result: &result, taken: map[string]bool{}}
	if r := job.Task.Engine.DumpRate; r > 0 {
		p.limiter = rate.NewLimiter(rate.Limit(r), 1)
	}
	var scripts []*script
	for _, root := range src.roots {
		s, err := read(root)
		if err != nil {
			return result, failure(src.name, err)
		}
		p.total += int64(len(s.dumps))
		p.versions(s)
		scripts = append(scripts, s)
	}
	if p.total == 0 {
		return result, noDumps(src.name)
	}
	for _, s := range scripts {
		if err := p.play(s); err != nil {
			return result, failure(src.name, err)
		}
	}
	p.progress(fmt.Sprintf("replayed %d dumps of %s", result.Dumps, src.name))
	return result, nil
}
