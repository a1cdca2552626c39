package sglang

import (
	"bufio"
	"context"
	_ "embed" // the driver
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tracefleet/tracefleet/gpuworker/proc"
	"github.com/tracefleet/tracefleet/gpuworker/traffic"
	"github.com/tracefleet/tracefleet/proto"
)

//go:embed driver.py
var driverCode []byte

// spentEvery is how often the dump budget is looked at while a batch runs.
const spentEvery = 500 * time.Millisecond

// driver is the process that drives sglang.Engine, as the worker sees it.
type driver struct {
	commands *os.File
	file     *os.File   // answers are read from it
	answers  chan reply // closed at the end of the driver's
	broken   error      // what was not an answer; read after answers is closed
	idle     bool       // the Engine is up, and nothing was asked that it has not answered
}

// reply is a line of the driver.
type reply struct {
	ID       int    `json:"id"`
	Ready    bool   `json:"ready"`
	OK       bool   `json:"ok"`
	Bye      bool   `json:"bye"`
	Requests int    `json:"requests"`
	Tokens   int64  `json:"tokens"`
	Error    string `json:"error"`
	Kind     string `json:"kind"` // of Python's exception
}

// one is a request as Engine.generate takes it.
type one struct {
	InputIDs []int32        `json:"input_ids"`
	Sampling map[string]any `json:"sampling_params"`
}

// serveOffline runs an Engine's lifetime.
func (l *lifetime) serveOffline(ctx context.Context) (err error) {
	d, err := l.startDriver()
	if err != nil {
		return err
	}
	defer func() {
		d.bye(l.grace)
		err = l.stop(ctx, err)
		d.close()
	}()
	if err := d.say(ctx, map[string]any{"engine": l.plan.keywords}); err != nil {
		return l.failed(phaseStart, err)
	}
	if err := l.engineReady(ctx, d); err != nil {
		return err
	}
	if err := l.begin(ctx); err != nil {
		return err
	}
	defer l.clock()()
	for id := 1; ; id++ {
		if l.job.Spent != nil && l.job.Spent() {
			l.spent()
			return nil
		}
		batch := l.source.NextBatch(l.job.Task.BatchSize)
		if len(batch) == 0 {
			return nil
		}
		if err := l.job.Wait(ctx); err != nil {
			return err
		}
		spent, err := l.batch(ctx, d, id, batch)
		if err != nil {
			return err
		}
		if spent {
			l.spent()
			l.grace = min(l.grace, spentGrace)
			return nil
		}
	}
}

func (l *lifetime) spent() {
	l.tell(fmt.Sprintf("dump budget spent after %d of %d requests", l.served.Load(), l.source.Total()))
}

func (l *lifetime) startDriver() (*driver, error) {
	path := filepath.Join(l.job.ScratchDir, driverName)
	if err := os.WriteFile(path, driverCode, 0o644); err != nil {
		return nil, fmt.Errorf("write the driver: %w", err)
	}
	commandsR, commands, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	answers, answersW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, commandsR.Close(), commands.Close())
	}
	err = l.launch(proc.Spec{Args: []string{l.e.opt.Python, path}, Files: []*os.File{commandsR, answersW}})
	_, _ = commandsR.Close(), answersW.Close()
	if err != nil {
		_, _ = commands.Close(), answers.Close()
		return nil, err
	}
	d := &driver{commands: commands, file: answers, answers: make(chan reply, 16)}
	go d.read()
	return d, nil
}

// read gives the driver's lines until they end, which is when its process does.
func (d *driver) read() {
	defer close(d.answers)
	lines := bufio.NewScanner(d.file)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r reply
		if d.broken = json.Unmarshal(lines.Bytes(), &r); d.broken != nil {
			d.broken = fmt.Errorf("the driver answered %q: %w", clip(lines.Text()), d.broken)
			return
		}
		d.answers <- r
	}
	d.broken = lines.Err()
}

// say sends a command. A driver that does not read holds it up until ctx ends.
func (d *driver) say(ctx context.Context, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = d.commands.SetWriteDeadline(time.Now()) })()
	_, err = d.commands.Write(append(data, '\n'))
	return err
}

// bye lets a driver that has nothing to do end the Engine between two forward passes, which closing its commands asks for, and
// waits for that, at most for grace. One that is at work does not look; it is stopped as any process is.
func (d *driver) bye(grace time.Duration) {
	_ = d.commands.Close()
	if !d.idle {
		return
	}
	limit := time.NewTimer(grace)
	defer limit.Stop()
	for {
		select {
		case r, ok := <-d.answers:
			if !ok || r.Bye {
				return
			}
		case <-limit.C:
			return
		}
	}
}

// close ends the reader of the answers, also where a process that could not be killed holds them open.
func (d *driver) close() {
	_ = d.file.Close()
	for range d.answers {
	}
}

// engineReady waits for the Engine.
func (l *lifetime) engineReady(ctx context.Context, d *driver) error {
	timeout := l.startTimeout()
	late := time.NewTimer(timeout)
	defer late.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-late.C:
		return l.watch.late(l.node.release, timeout)
	case r, ok := <-d.answers:
		if err := d.wrong(r, ok); err != nil {
			return l.failed(phaseStart, err)
		}
		d.idle = true
		return nil
	}
}

// wrong gives what is wrong with an answer, or with there being none.
func (d *driver) wrong(r reply, some bool) error {
	switch {
	case !some && d.broken != nil:
		return d.broken
	case !some:
		return errEnded
	case r.Error != "" || r.Kind != "":
		return fmt.Errorf("%s: %s", r.Kind, clip(r.Error))
	}
	return nil
}

// batch serves one, and reports whether the dump budget was spent while it ran.
func (l *lifetime) batch(ctx context.Context, d *driver, id int, batch []traffic.Request) (spent bool, err error) {
	list := make([]one, len(batch))
	for i, r := range batch {
		if r.Messages != nil {
			return false, proto.Failf(proto.CodeBadTraffic, "request %d is a chat; the offline Engine takes token ids", r.ID).
				WithHint("chat needs one of the HTTP modes")
		}
		list[i] = one{r.InputIDs, r.SamplingParams()}
	}
	d.idle = false
	if err := d.say(ctx, map[string]any{"id": id, "requests": list}); err != nil {
		return false, l.failed(phaseServing, err)
	}
	tick := time.NewTicker(spentEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-tick.C:
			if l.job.Spent != nil && l.job.Spent() {
				return true, nil
			}
		case r, ok := <-d.answers:
			if err := d.wrong(r, ok); err != nil {
				return false, l.failed(phaseServing, err)
			}
			d.idle = true
			if r.ID != id {
				return false, proto.Failf(proto.CodeInternal, "the driver answered batch %d, not %d", r.ID, id)
			}
			l.served.Add(int64(len(batch)))
			l.tokens.Add(r.Tokens)
			l.progress("")
			return false, nil
		}
	}
}
