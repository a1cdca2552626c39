// Package launch turns a task into the command line, environment and keywords of its engine. It is what the planning shows and
// the worker runs, so that both are the same.
package launch
