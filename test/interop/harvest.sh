#!/usr/bin/env bash
# `definitions harvest` on every trace file at hand, and what it stages judged by flashinfer-bench's own models and by running the
# references. $1: the interpreter of the interop environment. Trace files: those FlashInfer's tracer writes here, without a GPU;
# those a checkout of FlashInfer has of its own (FLASHINFER_SRC); and the recorded ones of ../shared (or TRACEFLEET_SHARED).
# Run from the repository's root, with bin/tracefleet built.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$1
out=${TOOLS:-$PWD/.tools}/interop-harvest
shared=${TRACEFLEET_SHARED:-$PWD/../shared}
rm -rf "$out"
mkdir -p "$out/traces" "$out/none/definitions" "$out/staged"

# harvest NAME DIR [FLAGS], against an empty dataset, so that nothing is kept from the judges as a duplicate. Exit status 3 says that
# nothing could be staged, which is an answer.
harvest() {
    local name=$1 dir=$2 code=0
    shift 2
    bin/tracefleet definitions harvest --from "$dir" --trace-dir "$out/none" --out "$out/staged/$name" "$@" >"$out/$name.log" 2>&1 || code=$?
    if [ "$code" -ne 0 ] && [ "$code" -ne 3 ]; then
        cat "$out/$name.log"
        exit 1
    fi
    echo "$name: $(tail -n 1 "$out/$name.log" | cut -d';' -f1)"
}

echo "--- trace files by FlashInfer's own tracer, without a GPU"
"$python" test/interop/harvest.py write "$out/traces"
harvest own "$out/traces/own" --tp 1
harvest sglang "$out/traces/sglang" --tp 1 --model tiny-llama
for name in gqa_paged/gqa_paged_decode_h32_kv8_d128_ps1 gqa_paged/gqa_paged_prefill_causal_h32_kv8_d128_ps1 gqa_ragged/gqa_ragged_prefill_causal_h32_kv8_d128; do
    if [ ! -f "$out/staged/sglang/definitions/$name.json" ]; then
        echo "of SGLang's calls, $name was not harvested:" && cat "$out/sglang.log"
        exit 1
    fi
done

if [ -n "${FLASHINFER_SRC:-}" ]; then
    echo "--- trace files of a FlashInfer checkout"
    harvest checkout "$FLASHINFER_SRC/tests/trace" --tp 1
else
    echo "SKIPPED: trace files of a FlashInfer checkout; set FLASHINFER_SRC to one"
fi

if [ -d "$shared/golden/fi_trace" ]; then
    echo "--- recorded trace files, with the dumps of the same runs"
    mkdir -p "$out/dumps" "$out/traces/real"
    # Only what was called counts here: the records, not the tensors beside them.
    tar -xf "$shared/golden-real/a.tar.xz" -C "$out/dumps" --wildcards '*/metadata.jsonl'
    tar -xf "$shared/golden-real/trace-a.tar.xz" -C "$out/traces/real"
    harvest real "$out/traces/real" --tp 1 --dump-dir "$out/dumps/a"
    if command -v zstd >/dev/null; then
        tar --zstd -xf "$shared/golden/dumps-a.tar.zst" -C "$out" --wildcards '*/metadata.jsonl'
        for dir in "$shared"/golden/fi_trace/*/; do
            name=$(basename "$dir")
            harvest "recorded-$name" "$dir" --tp 1 --dump-dir "$out/dumps/$name"
        done
    else
        echo "SKIPPED: the recorded runs of ../shared/golden; unpacking their dumps needs zstd"
    fi
else
    echo "SKIPPED: recorded trace files, no $shared"
fi

mapfile -t staged < <(find "$out/staged" -mindepth 1 -maxdepth 1 -type d | sort)
echo "--- flashinfer-bench's models, and the references: ${#staged[@]} stagings"
"$python" test/interop/harvest.py judge "${staged[@]}"

echo "--- flashinfer-bench validate"
mapfile -t filled < <(find "$out/staged" -type d -name definitions -prune -printf '%h\n' | sort)
if [ -n "${FLASHINFER_BENCH_SRC:-}" ]; then
    "$python" test/interop/validate_dataset.py "${filled[@]}"
else
    echo "SKIPPED: validate is in no release yet; set FLASHINFER_BENCH_SRC to a checkout of flashinfer-ai/flashinfer-bench"
fi
rm -rf "$out"
