// Package bench_test measures, in one run on one machine, how fast `tracefleet sanitize` converts dumps, as ratios to a bare
// loop that only opens each dump, and (with FLASHINFER_BENCH_SRC and TRACEFLEET_PYTHON) to upstream's
// scripts/sanitize_dumps.py on the same dumps. `make bench` runs it; without TRACEFLEET_BENCH it is skipped, since it writes
// thousands of files and wants the machine to itself.
package bench_test
