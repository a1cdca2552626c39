package system_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tracefleet/tracefleet/coordinator"
	"github.com/tracefleet/tracefleet/internal/bus"
	"github.com/tracefleet/tracefleet/proto"
)

// submit sends the collection to the fleet and gives its id.
func (f *fleet) submit(dataset string, more ...string) string {
	f.t.Helper()
	out, code := run(f.t.Context(), f.t, f.bin, collectArgs(dataset, append(more, "--nats", f.broker.URL, "--detach")...)...)
	if code != 0 {
		f.logs()
		f.t.Fatalf("collect --detach: exit %d", code)
	}
	return strings.TrimSpace(out)
}

// finish follows a collection to its end and gives its account.
func (f *fleet) finish(id string) coordinator.Account {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Minute)
	defer cancel()
	out, code := run(ctx, f.t, f.bin, "jobs", "watch", id, "--json", "--nats", f.broker.URL, "--state-dir", filepath.Join(f.dir, "watch"))
	if code != 0 {
		f.logs()
		f.t.Fatalf("jobs watch: exit %d\n%s", code, out)
	}
	a := parseAccount(f.t, out)
	if a.Total.Pending != 0 {
		f.t.Errorf("%d dumps have no outcome", a.Total.Pending)
	}
	return a
}

// A fleet of four processes gives the dataset that one process gives.
func TestFleet_SameAsOneProcess(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	dataset := newDataset(t)
	a := f.finish(f.submit(dataset))
	compare(t, dataset)
	if _, want := undisturbed(t); a.Total.Dumps != want.Total.Dumps || a.Total.NewWorkloads != want.Total.NewWorkloads {
		t.Errorf("account %+v, want %+v", a.Total, want.Total)
	}
}

// Each role, and then the broker, is killed with SIGKILL while it has work in hand.
func TestFleet_KillEachInTurn(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	b := f.broker.Connect("watcher")
	dataset := newDataset(t)
	// Slow enough that every stage overlaps the next kill.
	id := f.submit(dataset, "--dump-rate", "60")

	f.await(b, "the first task runs and has shipped", func(tasks []*proto.TaskState, verdicts int) bool { return verdicts > 5 })
	f.crash("coordinator")
	f.crash("sanitizer")
	f.await(b, "the first task is still running", func(tasks []*proto.TaskState, _ int) bool { return running(tasks) })
	f.crash("gpuworker")
	f.await(b, "another attempt runs", func(tasks []*proto.TaskState, _ int) bool {
		for _, s := range tasks {
			if s.State == proto.StateRunning && s.Attempt > 1 {
				return true
			}
		}
		return false
	})
	f.t.Log("kill -9 broker")
	f.broker.Kill()
	f.broker.Restart()
	b = f.broker.Connect("watcher")
	f.await(b, "a publication is under way", func(tasks []*proto.TaskState, _ int) bool {
		for _, s := range tasks {
			if s.State == proto.StatePublishing {
				return true
			}
		}
		return false
	})
	f.crash("publisher")

	a := f.finish(id)
	compare(t, dataset)
	attempts := 0
	for _, task := range a.Tasks {
		attempts += int(task.Attempts)
	}
	if attempts <= len(a.Tasks) {
		t.Errorf("%d attempts at %d tasks: the kill of the gpuworker cost none, so it hit nothing", attempts, len(a.Tasks))
	}
}

// await waits for a moment in the collection's life.
func (f *fleet) await(b *bus.Bus, what string, cond func(tasks []*proto.TaskState, verdicts int) bool) {
	f.t.Helper()
	records, err := bus.OpenRecord[proto.TaskState](f.t.Context(), b, proto.BucketTasks)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() {
		if f.t.Failed() {
			f.logs()
		}
	}()
	eventually(f.t, what, func() bool {
		entries, err := records.List(f.t.Context(), ">")
		if err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		verdicts, err := b.CountSubjects(f.t.Context(), proto.StreamVerdicts, "tf.verdicts.>")
		if err != nil {
			f.t.Fatalf("%s: %v", what, err)
		}
		var tasks []*proto.TaskState
		for _, e := range entries {
			tasks = append(tasks, e.Value)
		}
		return cond(tasks, verdicts)
	})
}

func running(tasks []*proto.TaskState) bool {
	for _, s := range tasks {
		if s.State == proto.StateRunning {
			return true
		}
	}
	return false
}

// One process with all roles, killed again and again at odd moments: the same command resumes, and the end is the same.
func TestLocal_KilledAndResumed(t *testing.T) {
	t.Parallel()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dataset, state := newDataset(t), filepath.Join(t.TempDir(), "state")
	args := collectArgs(dataset, "--json", "--state-dir", state, "--dump-rate", "25")
	for _, after := range []time.Duration{300 * time.Millisecond, 900 * time.Millisecond, 2 * time.Second} {
		cmd := exec.Command(bin, args...)
		cmd.Env = append(os.Environ(), "TRACEFLEET_NATS=")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(after) // odd moments are the point: wherever it is, it must be resumable
		_ = cmd.Process.Signal(syscall.SIGKILL)
		if err := cmd.Wait(); err == nil {
			t.Fatal("the collection ended before it was killed: nothing is left to resume")
		}
	}
	out, code := run(t.Context(), t, bin, args...)
	if code != 0 {
		t.Fatalf("resumed run: exit %d\n%s", code, out)
	}
	if a := parseAccount(t, out); a.Total.Pending != 0 {
		t.Errorf("%d dumps have no outcome", a.Total.Pending)
	}
	compare(t, dataset)
}

// Two publishers, one dataset: the second finds the queue's one place taken, and nothing is written twice.
func TestFleet_TwoOfEverything(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	for _, role := range []string{"coordinator", "sanitizer", "publisher"} {
		second := exec.Command(f.bin, role, "--nats", f.broker.URL)
		if err := second.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = second.Process.Kill()
			_ = second.Wait()
		})
	}
	dataset := newDataset(t)
	f.finish(f.submit(dataset))
	compare(t, dataset)
}

// What was simulated is marked: in the account, and in the provenance of every workload, which is the dataset's own.
func TestFleet_Simulated(t *testing.T) {
	t.Parallel()
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dataset := newDataset(t)
	out, code := run(t.Context(), t, bin, collectArgs(dataset, "--json", "--state-dir", filepath.Join(t.TempDir(), "state"))...)
	if code != 0 || !strings.Contains(out, `"simulated": true`) {
		t.Errorf("exit %d, and the account does not say that it was simulated:\n%s", code, out)
	}
	if err := os.RemoveAll(filepath.Join(dataset, ".tracefleet")); err != nil {
		t.Fatal(err)
	}
	out, code = run(t.Context(), t, bin, "inspect", "--json", dataset)
	var report struct {
		Workloads   int
		Definitions []struct{ Lines, Known, Travels, Simulated int }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 0 || report.Workloads == 0 {
		t.Fatalf("inspect: exit %d, %v\n%s", code, err, out)
	}
	for _, d := range report.Definitions {
		if d.Simulated != d.Lines || d.Known != d.Lines || d.Travels != d.Lines {
			t.Errorf("of %d lines %d are known, %d by the dataset, and %d simulated, want all", d.Lines, d.Known, d.Travels, d.Simulated)
		}
	}
}
