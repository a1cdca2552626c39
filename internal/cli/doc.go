// Package cli holds what the subcommands share and no role needs: list arguments as the older scripts took them, exit codes,
// tables and sizes for people. It prints nothing by itself.
package cli
