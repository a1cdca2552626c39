// Package archtest holds the tests of the source tree itself: which package may import which, how long a file may grow, and
// that docs/failure-codes.md explains every code a user can meet. It reads Go files with go/parser and runs nothing.
//
// The arrows point one way: main → a role → internal/… → proto → nothing of ours. No role imports another; byte formats
// know neither messages nor a broker; NATS is spoken by internal/bus and internal/tensorstore alone.
package archtest
