// Package golden_test runs the built tracefleet over recorded dump directories, as a user would, and has the results judged
// by those who recorded them: the corpora in ../shared (or $TRACEFLEET_SHARED), where a checkout has it. Without it every
// test here is skipped and says so.
//
// Each case goes through `sanitize` and through `collect --engine replay`. With TRACEFLEET_GOLDEN_OUT the datasets are left
// in that directory, for `make interop` to judge.
package golden_test
