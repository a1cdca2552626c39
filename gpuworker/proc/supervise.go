package proc

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// command is the hidden argument by which our binary knows that it is a supervisor.
const command = "supervise-child"

// Descriptors of the supervisor. Those of the child's Files follow.
const (
	lifelineFD = 3 // read: commands; its end is the worker's death
	statusFD   = 4 // write: reports
	filesFD    = 5
)

const (
	// leftoverGrace is what descendants get when the main process has ended: they are asked, and then killed.
	leftoverGrace = 2 * time.Second
	// sweepEvery is how often what is left is looked for and killed: killing a parent may bring its children to light.
	sweepEvery = 20 * time.Millisecond
	// sweepPatience is when processes that were killed and are still there are reported.
	sweepPatience = 10 * time.Second
)

// MaybeSupervise is the first call of main: in a process that Start made it is the supervisor and does not return.
func MaybeSupervise() {
	if len(os.Args) > 1 && os.Args[1] == command {
		os.Exit(supervise(os.Args[2:]))
	}
}

// supervise runs the command in args (grace, number of files, "--", argv) until it and all of its descendants are gone.
func supervise(args []string) int {
	runtime.LockOSThread() // the child's death signal is tied to this thread
	if len(args) < 4 {
		fmt.Fprintf(os.Stderr, "%s is tracefleet's own, for the processes it starts\n", command)
		return 2
	}
	grace, err1 := time.ParseDuration(args[0])
	given, held, _ := strings.Cut(args[1], "+")
	files, err2 := strconv.Atoi(given)
	holds, err3 := strconv.Atoi(held)
	if err1 != nil || err2 != nil || err3 != nil || args[2] != "--" {
		fmt.Fprintf(os.Stderr, "%s is tracefleet's own, for the processes it starts\n", command)
		return 2
	}
	syscall.CloseOnExec(lifelineFD)
	syscall.CloseOnExec(statusFD)
	for i := range holds { // ours until we end, and not the child's
		syscall.CloseOnExec(filesFD + files + i)
	}
	status := json.NewEncoder(os.NewFile(statusFD, "status"))
	// The worker may be gone and nobody read: then the errors of Encode are of no use to anybody.
	say := func(r report) { _ = status.Encode(r) }
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	adopt()
	pid, err := fork(args[3:], files)
	if err != nil {
		say(report{Error: err.Error()})
		return 1
	}
	say(report{PID: pid})
	s := &supervision{pid: pid, grace: grace, say: say, signals: signals}
	s.run(commands(os.NewFile(lifelineFD, "lifeline")), reap())
	say(report{Gone: true})
	return 0
}

// fork starts argv in a process group of its own.
func fork(argv []string, files int) (pid int, err error) {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	fds := []uintptr{null.Fd(), 1, 2}
	for i := range files {
		fds = append(fds, uintptr(filesFD+i))
	}
	pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{Env: os.Environ(), Files: fds, Sys: childAttr()})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	// The supervisor must not hold what is the child's: its end has to show at the other side.
	for i := range files {
		_ = syscall.Close(filesFD + i)
	}
	return pid, nil
}

// commands gives the graces of the worker's "stop" commands. The channel is closed when the worker is gone.
func commands(lifeline *os.File) <-chan time.Duration {
	ch := make(chan time.Duration)
	go func() {
		defer close(ch)
		for lines := bufio.NewScanner(lifeline); lines.Scan(); {
			text, ok := strings.CutPrefix(lines.Text(), "stop ")
			if d, err := time.ParseDuration(text); ok && err == nil {
				ch <- d
			}
		}
	}()
	return ch
}

// ended is a child of the supervisor that was waited for: the main process, or a descendant that it adopted.
type ended struct {
	pid    int
	status syscall.WaitStatus
}

// reap waits for children until there is none. Since each descendant becomes one when its parent ends, none is left then.
func reap() <-chan ended {
	ch := make(chan ended)
	go func() {
		defer close(ch)
		for {
			var e ended
			var err error
			if e.pid, err = syscall.Wait4(-1, &e.status, 0, nil); err == syscall.EINTR {
				continue
			}
			if err != nil {
				return
			}
			ch <- e
		}
	}()
	return ch
}

// supervision is the life of one child, seen from its supervisor.
type supervision struct {
	pid     int
	grace   time.Duration // when the worker is gone or a signal came
	say     func(report)
	signals <-chan os.Signal

	mainGone bool
	asked    bool
	deadline <-chan time.Time // after it, what is left is killed
	until    time.Time        // when that is
	sweeping bool
	began    time.Time
	killed   map[int]bool
	told     bool
}

func (s *supervision) run(commands <-chan time.Duration, reaped <-chan ended) {
	s.killed = map[int]bool{}
	var sweep <-chan time.Time
	for {
		if s.sweeping && sweep == nil {
			tick := time.NewTicker(sweepEvery)
			defer tick.Stop()
			sweep = tick.C
			s.sweep()
		}
		select {
		case grace, alive := <-commands:
			if !alive {
				commands, grace = nil, s.grace
			}
			s.stop(grace)
		case <-s.signals:
			s.stop(s.grace)
		case e, some := <-reaped:
			switch {
			case some && e.pid == s.pid:
				s.left(e.status)
			case !some && s.none():
				return
			case !some:
				reaped = nil
			}
		case <-s.deadline:
			s.sweeping = true
		case <-sweep:
			s.sweep()
			if reaped == nil && s.none() {
				return
			}
		}
	}
}

// stop asks the main process, once, and sets when asking is over. A later stop can only bring that forward.
func (s *supervision) stop(grace time.Duration) {
	if !s.asked && !s.mainGone && grace > 0 {
		_ = syscall.Kill(s.pid, syscall.SIGTERM) // it is not waited for yet, so the id is its own
	}
	s.asked = true
	s.by(grace)
}

// by sets the deadline, unless it is earlier already.
func (s *supervision) by(grace time.Duration) {
	if at := time.Now().Add(grace); s.until.IsZero() || at.Before(s.until) {
		s.until, s.deadline = at, time.After(grace)
	}
}

// left takes the end of the main process. Whatever it left behind is asked, and has a moment.
func (s *supervision) left(status syscall.WaitStatus) {
	s.mainGone = true
	e := Exit{Code: status.ExitStatus()}
	if status.Signaled() {
		e.Code, e.Signal = -1, status.Signal()
	}
	s.say(report{Exited: &e})
	for _, pid := range descendants(s.pid) {
		_ = syscall.Kill(pid, syscall.SIGTERM)
	}
	s.by(leftoverGrace)
}

// none reports that nothing is left. After the last child only a system without subreapers may have something.
func (s *supervision) none() bool { return len(descendants(s.pid)) == 0 }

// sweep kills what is left.
func (s *supervision) sweep() {
	if s.began.IsZero() {
		s.began = time.Now()
	}
	if !s.mainGone {
		_ = syscall.Kill(-s.pid, syscall.SIGKILL)
	}
	var fresh, left []int
	for _, pid := range descendants(s.pid) {
		left = append(left, pid)
		if !s.killed[pid] {
			s.killed[pid] = true
			fresh = append(fresh, pid)
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if len(fresh) > 0 {
		s.say(report{Killed: fresh})
	}
	if len(left) > 0 && !s.told && time.Since(s.began) > sweepPatience {
		s.told = true
		s.say(report{Survivors: left})
	}
}
