package proc

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Spec is a child to start.
type Spec struct {
	Args []string // Args[0] is looked up in the PATH of Env
	Env  []string // the whole environment, NAME=value; nil: this process's
	Dir  string   // working directory; empty: this process's
	// Line is given each line of the child's output, without its end, ANSI sequences and invalid UTF-8, from one goroutine and
	// never after Done is closed. A carriage return ends a line too, as progress bars write it. Nil: nobody reads.
	Line    func(string)
	LogFile string     // gets all output as it is, appended; empty: none
	LogMax  int64      // bytes of LogFile; what comes after is not kept. 0: DefaultLogMax
	Files   []*os.File // become descriptors 3, 4, … of the child; they stay the caller's to close
	// Hold stay open until everything of the child is gone, also when this process is killed before: locks on what the child uses.
	Hold []*os.File
	// Grace is how long the child may take, from being asked to being killed, when the worker dies. 0: DefaultGrace.
	Grace time.Duration
}

// Defaults of Spec.
const (
	DefaultLogMax = 256 << 20
	DefaultGrace  = 30 * time.Second
)

// markEnv is the variable by which descendants are known once the supervisor that could have told is dead.
const markEnv = "TRACEFLEET_CHILD"

// killWait is how long Stop waits for killed processes to vanish. One that hangs in a driver may never.
const killWait = 20 * time.Second

// Child is a running command.
type Child struct {
	pid      int // of the command's main process
	mark     string
	cmd      *exec.Cmd // the supervisor
	lifeline *os.File
	mu       sync.Mutex // lifeline's writes, and what follows
	exit     Exit
	done     chan struct{}
	left     chan struct{} // closed when the command's main process has ended
}

// report is a line that the supervisor writes about the command.
type report struct {
	PID       int    `json:"pid,omitempty"`   // it was started
	Error     string `json:"error,omitempty"` // it could not be
	Exited    *Exit  `json:"exited,omitempty"`
	Killed    []int  `json:"killed,omitempty"`    // processes that were left and got SIGKILL
	Survivors []int  `json:"survivors,omitempty"` // and did not vanish in time
	Gone      bool   `json:"gone,omitempty"`      // all is waited for
}

// Start starts a child and returns when its command runs. Stop must be called, or Done awaited.
func Start(spec Spec) (*Child, error) {
	if len(spec.Args) == 0 {
		return nil, errors.New("start process: no command")
	}
	if spec.Env == nil {
		spec.Env = os.Environ()
	}
	if spec.Grace <= 0 {
		spec.Grace = DefaultGrace
	}
	if spec.Dir != "" {
		if _, err := os.Stat(spec.Dir); err != nil { // exec would say of the program that it is missing
			return nil, fmt.Errorf("start %s in its directory: %w", spec.Args[0], err)
		}
	}
	c := &Child{mark: rand.Text(), done: make(chan struct{}), left: make(chan struct{})}
	sink, err := newSink(spec)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Args[0], err)
	}
	var pipes []*os.File
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
			pipes = append(pipes, r, w)
		}
		return r, w
	}
	output, outputW := pipe()
	lifelineR, lifeline := pipe()
	status, statusW := pipe()
	if err != nil {
		closeAll(pipes)
		sink.close()
		return nil, fmt.Errorf("start %s: %w", spec.Args[0], err)
	}
	c.lifeline = lifeline
	c.cmd = supervisor(spec)
	c.cmd.Env = append(slices.Clone(spec.Env), markEnv+"="+c.mark)
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = spec.Dir, outputW, outputW
	c.cmd.ExtraFiles = slices.Concat([]*os.File{lifelineR, statusW}, spec.Files, spec.Hold)
	ended, err := startTied(c.cmd)
	closeAll([]*os.File{outputW, lifelineR, statusW})
	if err != nil {
		closeAll([]*os.File{output, lifeline, status})
		sink.close()
		return nil, fmt.Errorf("start supervisor of %s: %w", spec.Args[0], err)
	}
	reports := bufio.NewScanner(status)
	var first report
	if reports.Scan() {
		err = json.Unmarshal(reports.Bytes(), &first)
	}
	if first.Error != "" {
		err = errors.New(first.Error)
	} else if err == nil && first.PID == 0 {
		err = errors.New("its supervisor ended at once; does main (or TestMain) call proc.MaybeSupervise?")
	}
	read := make(chan struct{})
	go func() { defer close(read); sink.copy(output) }()
	if err != nil {
		_ = lifeline.Close()
		<-ended
		<-read
		closeAll([]*os.File{output, status})
		sink.close()
		return nil, fmt.Errorf("start %s: %w%s", spec.Args[0], err, sink.words())
	}
	c.pid = first.PID
	go func() {
		gone := c.listen(reports)
		<-ended
		_ = status.Close()
		if !gone {
			c.lost()
		}
		select {
		case <-read:
		case <-time.After(time.Second): // something that is not ours has the pipe
			_ = output.Close()
			<-read
		}
		_ = output.Close()
		sink.close()
		c.mu.Lock()
		_ = c.lifeline.Close()
		c.lifeline = nil
		c.mu.Unlock()
		close(c.done)
	}()
	return c, nil
}

// supervisor makes the command that runs spec's. It is not tied to the terminal's signals: those are the worker's.
func supervisor(spec Spec) *exec.Cmd {
	cmd := exec.Command(self(), append([]string{command, spec.Grace.String(), fmt.Sprintf("%d+%d", len(spec.Files), len(spec.Hold)), "--"}, spec.Args...)...)
	cmd.SysProcAttr = supervisorAttr()
	return cmd
}

// startTied starts cmd from a thread that lives as long as it does: a death signal is tied to the thread, not the process.
func startTied(cmd *exec.Cmd) (ended <-chan struct{}, err error) {
	started, done := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its exit status says nothing: the reports do
		}
		close(done)
	}()
	return done, <-started
}

// listen takes the supervisor's reports until it has none, and tells whether it ended in order.
func (c *Child) listen(reports *bufio.Scanner) (gone bool) {
	exited := false
	for reports.Scan() {
		var r report
		if json.Unmarshal(reports.Bytes(), &r) != nil {
			continue // the last line of a killed supervisor
		}
		c.mu.Lock()
		if r.Exited != nil {
			c.exit.Code, c.exit.Signal = r.Exited.Code, r.Exited.Signal
		}
		c.exit.Killed += len(r.Killed)
		c.exit.Survivors = r.Survivors
		c.mu.Unlock()
		if r.Exited != nil {
			exited = true
			close(c.left)
		}
		gone = gone || r.Gone
	}
	if !exited {
		c.mu.Lock()
		c.exit.Code, c.exit.Lost = -1, true
		c.mu.Unlock()
		close(c.left)
	}
	return gone
}

// lost clears up after a supervisor that was killed.
func (c *Child) lost() {
	killed, survivors := sweepLost(c.pid, markEnv+"="+c.mark, killWait)
	c.mu.Lock()
	c.exit.Killed += killed
	c.exit.Survivors = survivors
	c.mu.Unlock()
}

// PID gives the id of the command's main process, which is its group's as well.
func (c *Child) PID() int { return c.pid }

// Done is closed when the child and all of its descendants are gone, and its last line was given.
func (c *Child) Done() <-chan struct{} { return c.done }

// Left is closed when the command's main process has ended, which its descendants may outlive by moments.
func (c *Child) Left() <-chan struct{} { return c.left }

// Exit tells how the main process ended; it is whole once Done is closed.
func (c *Child) Exit() Exit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exit
}

// Stop asks the child to end, kills what is left after grace, at once where ctx ends first, and returns when all is gone. The
// error names processes that did not vanish when killed; ctx's end is not an error.
func (c *Child) Stop(ctx context.Context, grace time.Duration) (Exit, error) {
	c.mu.Lock()
	if c.lifeline != nil {
		c.exit.Asked = true
	}
	c.mu.Unlock()
	c.say("stop " + grace.String())
	hard := ctx.Done()
	limit := time.NewTimer(grace + killWait)
	defer limit.Stop()
	for {
		select {
		case <-c.done:
			return c.Exit(), nil
		case <-hard:
			hard = nil
			c.say("stop 0s")
			limit.Reset(killWait)
		case <-limit.C:
			e := c.Exit()
			return e, fmt.Errorf("stop process %d: killed, and processes %v are still there after %s: they may hang in a driver", c.pid, e.Survivors, killWait)
		}
	}
}

func (c *Child) say(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lifeline != nil {
		_, _ = c.lifeline.WriteString(what + "\n") // a supervisor that cannot hear it is dead, and Done tells that
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
