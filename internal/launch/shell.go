package launch

import (
	"encoding/json"
	"fmt"

	"github.com/tracefleet/tracefleet/internal/cli"
)

// tryEngine makes an Engine of the keywords in its first argument and leaves it, as engine, to an interactive Python.
const tryEngine = "import json, sys, sglang; engine = sglang.Engine(**json.loads(sys.argv[1]))"

// Shell gives the command as one line for a shell. The HTTP modes start the very server. In offline mode the worker's driver has
// the same keywords from its standard streams; the line makes the same Engine in an interactive Python.
func (c *Command) Shell(python string) string {
	argv := append([]string{"env"}, c.Env...)
	argv = append(argv, python)
	if len(c.Args) > 0 {
		return cli.ShellJoin(append(argv, c.Args...))
	}
	keywords, err := json.Marshal(c.Keywords())
	if err != nil { // values are strings, numbers, booleans and what JSON held
		return fmt.Sprintf("# keywords that are no JSON: %v", err)
	}
	return cli.ShellJoin(append(argv, "-i", "-c", tryEngine, string(keywords)))
}

// Keywords gives the Engine's keyword arguments as an object.
func (c *Command) Keywords() map[string]any {
	object := make(map[string]any, len(c.Engine))
	for _, k := range c.Engine {
		object[k.Name] = k.Value
	}
	return object
}
