#!/usr/bin/env bash
# Part of `make interop`: every baseline solution that publisher/baseline makes, held to the signatures of released FlashInfer wheels
# (kept in $2/flashinfer-wheels), on CPU tensors. $1 is the interpreter of the interop environment. The wheels are read, not installed.
# Definitions: the repository's, and those of ../shared (or TRACEFLEET_SHARED) where it is there. Run from the repository's root.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "$1")
tools=$(realpath -s "$2")
releases=(0.6.14 0.7.2) # those that SGLang 0.5.16 and 0.5.23 pin

wheels=$tools/flashinfer-wheels
test/interop/wheels.sh "$python" "$wheels" flashinfer-python "${releases[@]}"

datasets=(testdata/dataset test/gpu)
shared=${TRACEFLEET_SHARED:-$PWD/../shared}/dataset
if [ -d "$shared/definitions" ]; then
    datasets+=("$shared")
else
    echo "SKIPPED: the definitions of $shared, which is not there"
fi

out=$tools/interop-baseline
rm -rf "$out"
mkdir -p "$out"
go run ./test/interop/baselines "$out" "${datasets[@]}" >"$out/index.jsonl"
"$python" test/interop/baseline.py "$wheels" "$out/index.jsonl" "${releases[@]}"
rm -rf "$out"
