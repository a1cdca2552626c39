#!/usr/bin/env bash
# The rules of publisher/judge against flashinfer-bench's own validator: a corpus of datasets that are broken in one way each gets the
# same verdicts from both, the real validator runs as a publication runs it, and the stand-in of its tests is like it.
# $1: the interpreter of the interop environment; then datasets that were collected, in whose structure nothing may be wrong.
# FLASHINFER_BENCH_SRC: a checkout of flashinfer-bench. Run from anywhere.
set -euo pipefail
python=$1
shift
collected=$(IFS=: && echo "$*")
cd "$(dirname "$0")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export PYTHONPATH=${FLASHINFER_BENCH_SRC:?set it to a checkout of flashinfer-ai/flashinfer-bench}
export PYTHONDONTWRITEBYTECODE=1

"$python" test/interop/judge_contract.py
"$python" test/interop/judge_corpus.py "$out/corpus"
TRACEFLEET_JUDGE_CORPUS=$out/corpus TRACEFLEET_JUDGE_PYTHON=$python TRACEFLEET_JUDGE_COLLECTED=$collected \
    go test -count=1 -v -run '^TestInterop_' ./publisher/judge | grep -v '^=== '
