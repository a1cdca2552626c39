package main

import (
	"fmt"
	"os"

	"github.com/tracefleet/tracefleet/gpuworker/engine/replay"
	"github.com/tracefleet/tracefleet/internal/cli"
	"github.com/tracefleet/tracefleet/internal/fidump"
	"github.com/tracefleet/tracefleet/proto"
)

// checkDumpDir returns a usage error if path, given as what, is no directory. Archives are read by collect alone.
func checkDumpDir(what, path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return cli.Usagef("%s: %v", what, err)
	case info.Mode().IsRegular():
		return cli.Usagef("%s: %s is a file, must be a directory; unpack an archive first: %s && %s", what, path,
			cli.ShellJoin([]string{"mkdir", "dumps"}), cli.ShellJoin([]string{"tar", "-xf", path, "-C", "dumps"}))
	case !info.IsDir():
		return cli.Usagef("%s: %s is not a directory", what, path)
	}
	return nil
}

// checkDumps returns a usage error if path, given as what, is no directory with dumps directly in it.
func checkDumps(what, path string) error {
	if err := checkDumpDir(what, path); err != nil {
		return err
	}
	names, err := fidump.List(path)
	if err != nil {
		return cli.Usagef("%s: %v", what, err)
	}
	if len(names) == 0 {
		return &cli.ExitError{Code: cli.ExitUsage, Err: noDumps(path, what+" "+path)}
	}
	return nil
}

// noDumps returns the error for a directory with no dump directly in it, beginning with what was found of it. If directories below
// have dumps, the remedy names the first.
func noDumps(dir, found string) error {
	failure := proto.Failf(proto.CodeDumpDir, "%s: no dump is directly in it", found)
	roots, err := replay.Roots(dir)
	if err != nil || len(roots) == 0 {
		return failure.WithHint("name what FLASHINFER_DUMP_DIR was, with a directory for each call in it")
	}
	others := ""
	if n := len(roots) - 1; n > 0 {
		others = fmt.Sprintf(" (dumps are in %d more below %s)", n, dir)
	}
	return failure.WithHint("name a directory that has some: %s%s", roots[0], others)
}
