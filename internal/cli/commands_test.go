package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tracefleet/tracefleet/internal/cli"
)

// takes is a small command line: jobs has the broker's options, resolve requires a dataset, doctor takes no directory.
func takes(words []string) map[string]bool {
	switch strings.Join(words, " ") {
	case "jobs retry c-1", "jobs list", "collect":
		return map[string]bool{"nats": false, "creds": false, "tlsca": false, "state-dir": false}
	case "definitions resolve":
		return map[string]bool{"trace-dir": true}
	case "publisher":
		return map[string]bool{"nats": false, "trace-dir": false}
	}
	return nil
}

func TestCommands_ShownCommand_RepeatsTheOptionsInUse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		used       map[string]string
		text, want string
	}{
		"nothing in use":       {nil, "see `tracefleet jobs list`", "see `tracefleet jobs list`"},
		"state directory":      {map[string]string{"state-dir": "/a/b"}, "`tracefleet jobs retry c-1` runs it", "`tracefleet jobs retry c-1 --state-dir /a/b` runs it"},
		"quoted":               {map[string]string{"state-dir": "my dir"}, "`tracefleet jobs list`", "`tracefleet jobs list --state-dir 'my dir'`"},
		"all, in their order":  {map[string]string{"tlsca": "ca", "nats": "nats://h:4222", "creds": "c"}, "`tracefleet jobs list`", "`tracefleet jobs list --nats nats://h:4222 --creds c --tlsca ca`"},
		"two commands":         {map[string]string{"nats": "h"}, "`tracefleet jobs list`, then `tracefleet collect`", "`tracefleet jobs list --nats h`, then `tracefleet collect --nats h`"},
		"has it already":       {map[string]string{"nats": "h"}, "`tracefleet jobs list --nats other`, `tracefleet jobs list --nats=x`", "`tracefleet jobs list --nats other`, `tracefleet jobs list --nats=x`"},
		"does not take it":     {map[string]string{"nats": "h"}, "`tracefleet doctor`", "`tracefleet doctor`"},
		"required":             {map[string]string{"trace-dir": "ds"}, "`tracefleet definitions resolve --engine sglang`", "`tracefleet definitions resolve --engine sglang --trace-dir ds`"},
		"required, not known":  {nil, "`tracefleet definitions resolve`", "`tracefleet definitions resolve --trace-dir DIR`"},
		"would change it":      {map[string]string{"trace-dir": "ds"}, "`tracefleet publisher`", "`tracefleet publisher`"},
		"a password":           {map[string]string{"nats": "nats://me:secret@h:4222"}, "`tracefleet jobs list`", "`tracefleet jobs list --nats \"$TRACEFLEET_NATS\"`"},
		"a token":              {map[string]string{"nats": "nats://h:1,nats://secret@h:4222"}, "`tracefleet jobs list`", "`tracefleet jobs list --nats \"$TRACEFLEET_NATS\"`"},
		"no command":           {map[string]string{"nats": "h"}, "tracefleet jobs list", "tracefleet jobs list"},
		"not one line":         {map[string]string{"nats": "h"}, "a ` b\n`tracefleet jobs list`", "a ` b\n`tracefleet jobs list --nats h`"},
		"taken out of use":     {map[string]string{"nats": "h", "creds": ""}, "`tracefleet jobs list`", "`tracefleet jobs list --nats h`"},
		"other programs' ones": {map[string]string{"nats": "h"}, "`dmesg -T`", "`dmesg -T`"},
	} {
		c := cli.NewCommands(takes)
		for flag, value := range tc.used {
			c.Use(flag, value)
		}
		require.Equal(t, tc.want, c.Text(tc.text), name)
		var out strings.Builder
		n, err := c.Writer(&out, false).Write([]byte(tc.text))
		require.NoError(t, err)
		require.Equal(t, len(tc.text), n, name)
		require.Equal(t, tc.want, out.String(), name)

		data, err := json.Marshal(map[string]string{"hint": tc.text})
		require.NoError(t, err)
		var back map[string]string
		require.NoError(t, json.Unmarshal([]byte(c.JSON(string(data))), &back), name)
		require.Equal(t, tc.want, back["hint"], "%s: it stays JSON", name)
	}
}

func TestCommands_Secret_IsNotedOnce(t *testing.T) {
	t.Parallel()
	c := cli.NewCommands(takes)
	notes := 0
	c.Note(func() { notes++ })
	c.Text("`tracefleet jobs list`")
	require.Zero(t, notes)
	c.Use("nats", "nats://me:secret@h")
	c.Text("`tracefleet jobs list` `tracefleet jobs list`")
	require.Equal(t, 1, notes)
}
