#!/usr/bin/env bash
# Part of `make interop`: FlashInfer's own logger, of released wheels (about 85 MB, kept in $2/flashinfer-wheels), on CPU tensors. $1 is
# the interpreter of the interop environment. The wheels are not installed: the logger alone is imported out of them.
# Run from the repository's root, with bin/tracefleet built.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "$1")
tools=$(realpath -s "$2")
releases=(0.6.1 0.6.14 0.7.2) # those that SGLang 0.5.8, 0.5.16 and 0.5.23 pin

wheels=$tools/flashinfer-wheels
test/interop/wheels.sh "$python" "$wheels" flashinfer-python "${releases[@]}"

out=$tools/interop-logger
rm -rf "$out"
"$python" test/interop/flashinfer_logger.py bin/tracefleet "$wheels" "$out" "${releases[@]}"
rm -rf "$out"

echo "--- our worker, on a stand-in for SGLang whose dumps that logger writes"
TRACEFLEET_FLASHINFER_LOGGER=$(printf '%q ' "$python" "$PWD/test/interop/logger_process.py" "$wheels")
export TRACEFLEET_FLASHINFER_LOGGER
go test -count=1 -run 'TestEngine_Releases/(0.5.8|0.5.23)_|TestEngine_Graphs/beside|TestEngine_Ranks' ./gpuworker/engine/sglang
go test -count=1 -run TestSGLang_Modes ./test/system
