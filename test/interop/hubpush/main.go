// Command hubpush pushes a directory to a new pull request of a dataset repository, by package hub and nothing else, and prints
// what came of it as JSON. Judges read back what it pushed, and test/bench compares it to the official client.
//
//	hubpush [-again] REPO DIR    (the Hub and the token are the environment's: HF_ENDPOINT, HF_TOKEN)
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tracefleet/tracefleet/publisher/hub"
)

// result is what is printed.
type result struct {
	PR      int    `json:"pr"`
	Ref     string `json:"ref"`
	Head    string `json:"head"`
	Commits int    `json:"commits"`
	Sent    int    `json:"sent"`
	Bytes   int64  `json:"bytes"`
	Again   int    `json:"again"` // commits that a second push of the same makes: none
}

func main() {
	again := flag.Bool("again", false, "push the same once more")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: hubpush [-again] REPO DIR")
		os.Exit(2)
	}
	if err := push(context.Background(), flag.Arg(0), flag.Arg(1), *again); err != nil {
		fmt.Fprintln(os.Stderr, "hubpush:", err)
		os.Exit(1)
	}
}

func push(ctx context.Context, repo, dir string, again bool) error {
	token, err := hub.FindToken(os.Getenv)
	if err != nil {
		return err
	}
	client, err := hub.New(hub.Options{Endpoint: hub.Endpoint(os.Getenv), Token: token.Value})
	if err != nil {
		return err
	}
	r, err := client.Dataset(repo)
	if err != nil {
		return err
	}
	files, err := read(dir)
	if err != nil {
		return err
	}
	pr, err := r.CreatePR(ctx, "Add workloads", "Pushed by **hubpush**, to be read back.")
	if err != nil {
		return err
	}
	add := hub.Add{Summary: "Add workloads", Files: files}
	added, err := r.Add(ctx, pr.Ref(), add)
	if err != nil {
		return err
	}
	done := result{PR: pr.Num, Ref: pr.Ref(), Head: added.Head, Commits: added.Commits, Sent: added.Sent, Bytes: added.Bytes}
	if again {
		if added, err = r.Add(ctx, pr.Ref(), add); err != nil {
			return err
		}
		done.Again = added.Commits
	}
	return json.NewEncoder(os.Stdout).Encode(done)
}

// read gives the files below dir.
func read(dir string) ([]hub.File, error) {
	var files []hub.File
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f, err := hub.FileAt(filepath.ToSlash(rel), name)
		files = append(files, f)
		return err
	})
	return files, err
}
