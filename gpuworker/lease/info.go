package lease

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// The file beside a lock that says who has it, in the words of tools/gpu-lock, whose --status prints it. It is news for people:
// the lock is the truth, and an info file that cannot be written or read hinders nobody.

const (
	infoLimit   = 16 << 10 // read of an info file
	holderLimit = 200      // runes of a holder in an announcement
)

// infoText is the content of our info files for a task.
func infoText(devices []string, what string, since time.Time) string {
	name := strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	return fmt.Sprintf("  PID:        %d\n  GPUs:       %s\n  User:       %s\n  Command:    %s\n  Since:      %s\n  Exec limit: 0s\n",
		os.Getpid(), strings.Join(devices, " "), name, printable("tracefleet "+what), since.Format("2006-01-02 15:04:05"))
}

// writeInfo replaces the info file of a device. In a sticky directory one of another user's, dead by now, stays.
func (l lockFiles) writeInfo(index int, text string) error {
	path := l.path(index, ".info")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Created, never opened: whatever another user puts there meanwhile is not written to.
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// readInfo gives the content of the info file of a device; empty when there is none.
func (l lockFiles) readInfo(index int) string {
	f, err := os.OpenFile(l.path(index, ".info"), os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	data, err := io.ReadAll(io.LimitReader(f, infoLimit))
	if err != nil {
		return ""
	}
	return string(data)
}

// removeInfo removes our info file, and only ours. It must be called before the device is unlocked: after that, the file may be
// the next holder's.
func (l lockFiles) removeInfo(index int, text string) {
	if l.readInfo(index) == text {
		_ = os.Remove(l.path(index, ".info"))
	}
}

// holder says who holds a device that another process has locked.
func (l lockFiles) holder(index int) string {
	said := map[string]string{}
	for line := range strings.Lines(l.readInfo(index)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			said[strings.TrimSpace(key)] = printable(strings.TrimSpace(value))
		}
	}
	if said["PID"] == "" && said["Command"] == "" {
		return "another process"
	}
	text := "pid " + said["PID"]
	if said["User"] != "" {
		text += " of " + said["User"]
	}
	if said["Command"] != "" {
		text += ": " + said["Command"]
	}
	if r := []rune(text); len(r) > holderLimit {
		text = string(r[:holderLimit-1]) + "…"
	}
	return text
}

// printable is text on one line that does nothing to a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
}
