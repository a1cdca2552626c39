// Package sglangtest is a stand-in for an interpreter that has SGLang, for tests without a GPU: real processes that take the
// command line, speak the endpoints and write the dumps of a release, and fail in the ways that servers do.
//
// Main is called by TestMain, since the test binary itself is the stand-in; Python gives the path of a script that runs it as
// `python`. As that it answers the question for its packages, is `-m sglang.launch_server`, and runs our offline driver with the
// real python3 over a package sglang of its own.
//
// # What is as in the release
//
//   - Options and Engine keywords: those of package internal/sglang's recording, whole names only; others end with argparse's
//     words and status 2, or a TypeError.
//   - Endpoints: those of the recording, 404 else. /health_generate generates, /health too unless the environment turns that off: both
//     cost dump budget. /ready and the like generate nothing.
//   - What is called before the first request: warm-up, autotune and graph capture, unless flags turn them off.
//   - Processes: the server, and a scheduler for each rank that dumps by itself; a scheduler dies with its parent.
//   - FlashInfer's environment: level, directory, include and exclude patterns, count a process, its log's destination. With LoggerEnv
//     it is FlashInfer's own logger that heeds them and writes, in a process beside each scheduler.
//   - Log lines, as far as package sglang reads them.
//
// # What is not
//
// Nothing is computed. Requests that come one by one run one by one, a list in one request runs as one batch; there is no prefix cache
// and no chunked prefill. Of FlashInfer's calls there are norms, attention over pages and ragged, and sampling.
package sglangtest
