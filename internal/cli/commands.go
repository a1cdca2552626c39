package cli

import (
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Commands completes the commands of tracefleet that messages show, so that they work as they are printed. A message shows a command in
// backquotes, without the options that only the reader's command line has: `tracefleet jobs retry c-12ab`. Commands appends those in use
// that the shown command takes: where the broker, the credentials and the directories are. It is safe for concurrent use.
type Commands struct {
	takes func(command []string) (flags map[string]bool) // the flags of a command, true if they are required

	mu    sync.Mutex
	used  map[string]string // values by flag, as they were given
	noted func()            // see Note
}

// Repeated are the flags that are repeated, in the order in which they are appended. --trace-dir is repeated only where it is required:
// elsewhere it would change what the command does.
var Repeated = []string{"nats", "creds", "nkey", "tlsca", "tlscert", "tlskey", "state-dir", "trace-dir"}

// SecretURL is the environment variable that holds a URL with a password or a token. Such a URL is never printed.
const SecretURL = "TRACEFLEET_NATS"

// NewCommands returns a Commands. takes returns the flags of the command that its argument names; the value is true if a flag is required.
func NewCommands(takes func(command []string) map[string]bool) *Commands {
	return &Commands{takes: takes, used: map[string]string{}}
}

// Note sets a function that is called once, before the first command is shown that reads SecretURL.
func (c *Commands) Note(note func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noted = note
}

// Use sets the value of a flag that is in use; an empty value removes it. A nil Commands completes nothing.
func (c *Commands) Use(flag, value string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if value == "" {
		delete(c.used, flag)
		return
	}
	c.used[flag] = value
}

var shown = regexp.MustCompile("[`]tracefleet ([^`\n]+)`")

// Text completes the commands in s.
func (c *Commands) Text(s string) string { return c.complete(s, func(s string) string { return s }) }

// JSON completes the commands in encoded JSON.
func (c *Commands) JSON(s string) string {
	return c.complete(s, func(s string) string {
		data, err := json.Marshal(s)
		if err != nil { // a string can always be encoded
			return s
		}
		return string(data[1 : len(data)-1])
	})
}

func (c *Commands) complete(s string, encode func(string) string) string {
	if c == nil {
		return s
	}
	return shown.ReplaceAllStringFunc(s, func(command string) string {
		more := c.more(strings.Trim(command, "`"))
		if more == "" {
			return command
		}
		return strings.TrimSuffix(command, "`") + encode(more) + "`"
	})
}

// more returns what is to be appended to a command, with a space before it.
func (c *Commands) more(command string) string {
	words := strings.Fields(command)[1:]
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") }); i >= 0 {
		words = words[:i]
	}
	takes := c.takes(words)
	c.mu.Lock()
	defer c.mu.Unlock()
	var out strings.Builder
	for _, flag := range Repeated {
		required, ok := takes[flag]
		value := c.used[flag]
		switch {
		case !ok || strings.Contains(command+" ", " --"+flag+" ") || strings.Contains(command, " --"+flag+"="):
			continue
		case flag == "trace-dir" && !required:
			continue
		case value == "" && required:
			out.WriteString(" --" + flag + " DIR")
			continue
		case value == "":
			continue
		case flag == "nats" && hasSecret(value):
			out.WriteString(` --nats "$` + SecretURL + `"`)
			if note := c.noted; note != nil {
				c.noted = nil
				note()
			}
			continue
		}
		out.WriteString(" " + ShellJoin([]string{"--" + flag, value}))
	}
	return out.String()
}

// hasSecret reports whether one of the URLs of a list holds a user, a password or a token: they are before an @.
func hasSecret(urls string) bool {
	return strings.Contains(urls, "@")
}

// Writer returns a writer that completes the commands in what is written to w, a whole line or document at a time.
func (c *Commands) Writer(w io.Writer, asJSON bool) io.Writer { return &commandWriter{c, w, asJSON} }

type commandWriter struct {
	c      *Commands
	w      io.Writer
	asJSON bool
}

// Write implements io.Writer.
func (w *commandWriter) Write(p []byte) (int, error) {
	text := w.c.Text
	if w.asJSON {
		text = w.c.JSON
	}
	if _, err := io.WriteString(w.w, text(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Unwrap returns the writer below.
func (w *commandWriter) Unwrap() io.Writer { return w.w }
