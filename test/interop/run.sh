#!/usr/bin/env bash
# `make interop`: datasets made by bin/tracefleet, judged by programs nobody here wrote. The demo's dataset always; those of the
# recorded corpora where ../shared (or TRACEFLEET_SHARED) has them.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/.tools}
out=$tools/interop-out
python=$(test/interop/venv.sh "$tools/interop-venv")
rm -rf "$out"
mkdir -p "$out"

"$python" test/interop/judge_dataset_test.py

test/interop/sglang_flags.sh "$tools"

echo "--- FlashInfer's own logger, of released wheels"
wheels=$tools/flashinfer-wheels
mkdir -p "$wheels"
flashinfer=(0.6.1 0.6.14 0.7.2)
for release in "${flashinfer[@]}"; do
    if ! compgen -G "$wheels/flashinfer_python-$release-*.whl" >/dev/null; then # sglang-venv has pip, whatever made ours
        "$tools/sglang-venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --dest "$wheels" "flashinfer-python==$release"
    fi
done
"$python" test/interop/flashinfer_logger.py bin/tracefleet "$wheels" "$out/logger" "${flashinfer[@]}"

TOOLS=$tools test/interop/harvest.sh "$python"

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
mkdir -p "$out"
