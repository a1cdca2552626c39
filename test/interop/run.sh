#!/usr/bin/env bash
# `make interop`: datasets made by bin/tracefleet, judged by programs nobody here wrote. The demo's dataset always; those of the
# recorded corpora where ../shared (or TRACEFLEET_SHARED) has them.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/.tools}
out=$tools/interop-out
python=$(test/interop/venv.sh "$tools/interop-venv")
rm -rf "$out"

"$python" test/interop/judge_dataset_test.py

echo "--- collect --engine simulate, the demo's definitions"
mkdir -p "$out/demo"
cp -r testdata/dataset/definitions "$out/demo/"
bin/tracefleet collect --engine simulate --all --batch-sizes 4,16 --trace-dir "$out/demo" --state-dir "$out/state"

echo "--- recorded dumps, by sanitize and by collect --engine replay"
if ! TRACEFLEET_GOLDEN_OUT=$out/golden go test -count=1 -v ./test/golden >"$out/golden.log" 2>&1; then
    cat "$out/golden.log"
    exit 1
fi
grep -E '^(ok|--- )|no recorded dumps' "$out/golden.log"

mapfile -t datasets < <(find "$out" -type d -name definitions -prune -printf '%h\n' | sort)
echo "--- flashinfer-bench's models and loader, the safetensors package: ${#datasets[@]} datasets"
"$python" test/interop/judge_dataset.py "${datasets[@]}"

echo "--- flashinfer-bench validate"
if [ -n "${FLASHINFER_BENCH_SRC:-}" ]; then
    "$python" test/interop/validate_dataset.py "${datasets[@]}"
else
    echo "SKIPPED: validate is in no release yet; set FLASHINFER_BENCH_SRC to a checkout of flashinfer-ai/flashinfer-bench"
fi
rm -rf "$out"
