package archtest

import (
	"path"
	"slices"
	"strings"
	"testing"
)

var (
	roles   = []string{"coordinator", "gpuworker", "sanitizer", "publisher"}
	formats = []string{"internal/safetensors", "internal/fidump", "internal/fitrace"}
	brokers = []string{"internal/bus", "internal/tensorstore"}
	// launch turns a task into a command line for the role that plans it and the role that runs it, which must not import each other.
	knowProto = append([]string{"internal/launch"}, brokers...)
)

const nats = "github.com/nats-io"

// breaks says why a file of pkg may not import imported, or "". Both test files and others are held to it.
func breaks(pkg, imported string) string {
	if strings.HasPrefix(imported, nats+"/") && withinAny(pkg, brokers) == "" {
		return "only internal/bus and internal/tensorstore speak NATS"
	}
	target, isOurs := ours(imported)
	if !isOurs {
		return ""
	}
	role := withinAny(pkg, roles)
	wanted := withinAny(target, roles)
	switch {
	case within(pkg, "proto") && !within(target, "proto"):
		return "proto is the contract and imports nothing of ours"
	case role != "" && wanted != "" && role != wanted:
		return "roles meet in messages, not in imports"
	case within(pkg, "internal") && wanted != "":
		return "internal packages are below the roles"
	case within(pkg, "internal") && within(target, "proto") && withinAny(pkg, knowProto) == "":
		return "in internal/, only bus, tensorstore and launch know proto"
	case wanted != "" && role == "" && pkg != "" && !within(pkg, "test"):
		return "only package main and the tests of the whole (test/…) know the roles"
	case target == "" || (within(target, "test") && !within(pkg, "test")):
		return "nothing imports main or the tests of the whole"
	}
	return ""
}

func TestImports_PointOneWay(t *testing.T) {
	t.Parallel()
	for _, f := range readTree(t) {
		for _, imported := range f.imports {
			if why := breaks(f.pkg, imported); why != "" {
				t.Errorf("%s imports %s: %s", f.path, imported, why)
			}
		}
	}
}

// TestImports_FormatsKnowOnlyBytes follows the imports: a byte format must not reach proto or NATS through a third package.
func TestImports_FormatsKnowOnlyBytes(t *testing.T) {
	t.Parallel()
	graph := map[string][]string{}
	for _, f := range readTree(t) {
		if !f.test {
			graph[f.pkg] = append(graph[f.pkg], f.imports...)
		}
	}
	for _, format := range formats {
		if len(graph[format]) == 0 {
			t.Errorf("package %s has no files: update the list in this test", format)
		}
		seen := []string{format}
		for i := 0; i < len(seen); i++ {
			for _, imported := range graph[seen[i]] {
				target, isOurs := ours(imported)
				if strings.HasPrefix(imported, nats+"/") || (isOurs && within(target, "proto")) {
					t.Errorf("%s reaches %s through %s", format, imported, seen[i])
				}
				if isOurs && !slices.Contains(seen, target) {
					seen = append(seen, target)
				}
			}
		}
	}
}

func TestPackages_SayWhatTheyGive(t *testing.T) {
	t.Parallel()
	empty := []string{"util", "utils", "common", "helper", "helpers", "misc", "types", "shared", "base"}
	for _, f := range readTree(t) {
		if slices.Contains(empty, path.Base(f.pkg)) {
			t.Errorf("%s: a package named %s says nothing of what it gives", f.path, path.Base(f.pkg))
		}
	}
}

// TestBreaks holds the rules themselves: without it a rule that matches nothing would look kept.
func TestBreaks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pkg, imported string
		bad           bool
	}{
		{"proto", module + "/internal/fitrace", true},
		{"proto", "github.com/vmihailenco/msgpack/v5", false},
		{"coordinator", module + "/gpuworker/engine", true},
		{"publisher/dataset", module + "/sanitizer", true},
		{"publisher", module + "/publisher/dataset", false},
		{"sanitizer", module + "/internal/bus", false},
		{"sanitizer", nats + "/nats.go/jetstream", true},
		{"internal/bus/bustest", nats + "/nats-server/v2/server", false},
		{"internal/bus", module + "/proto", false},
		{"internal/launch", module + "/proto", false},
		{"internal/launch", nats + "/nats.go/jetstream", true},
		{"internal/cli", module + "/proto", true},
		{"internal/fidump", module + "/internal/safetensors", false},
		{"internal/fitrace", module + "/sanitizer", true},
		{"", module + "/coordinator", false},
		{"test/system", module + "/coordinator", false},
		{"tools/gen", module + "/coordinator", true},
		{"coordinator", module + "/test/golden", true},
		{"internal/cli", module, true},
	} {
		if why := breaks(c.pkg, c.imported); (why != "") != c.bad {
			t.Errorf("%s importing %s: got %q, bad should be %v", c.pkg, c.imported, why, c.bad)
		}
	}
}
