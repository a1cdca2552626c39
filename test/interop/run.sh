#!/usr/bin/env bash
# `make interop`: what bin/tracefleet writes, reads and starts, judged by programs nobody here wrote. Datasets: the demo's always; those of
# the recorded corpora where ../shared (or TRACEFLEET_SHARED) has them. What costs least comes first.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=${TOOLS:-$PWD/.tools}
export TOOLS=$tools
out=$tools/interop-out
rm -rf "$out"
mkdir -p "$out"

# part TITLE COMMAND...: says how long it took.
part() {
    local title=$1 start=$SECONDS
    shift
    echo "=== $title"
    "$@"
    echo "=== $title: $((SECONDS - start)) s"
}

demo() {
    mkdir -p "$out/demo"
    cp -r testdata/dataset/definitions "$out/demo/"
    bin/tracefleet collect --engine simulate --all --batch-sizes 4,16 --trace-dir "$out/demo" --state-dir "$out/state"
}

recorded() {
    if ! TRACEFLEET_GOLDEN_OUT=$out/golden go test -count=1 -v ./test/golden >"$out/golden.log" 2>&1; then
        cat "$out/golden.log"
        return 1
    fi
    grep -E '^(ok|--- )|no recorded dumps' "$out/golden.log"
}

datasets() {
    mapfile -t found < <(find "$out" -type d -name definitions -prune -printf '%h\n' | sort)
    "$python" test/interop/judge_dataset_test.py
    "$python" test/interop/judge_dataset.py "${found[@]}"
}

validate() {
    if [ -n "${FLASHINFER_BENCH_SRC:-}" ]; then
        "$python" test/interop/validate_dataset.py "${found[@]}"
        test/interop/judge.sh "$python" "${found[@]}"
    else
        echo "SKIPPED: validate is in no release yet; set FLASHINFER_BENCH_SRC to a checkout of flashinfer-ai/flashinfer-bench"
    fi
}

solexecbench() {
    if [ -n "${SOL_EXECBENCH_SRC:-}" ]; then
        "$python" test/interop/sol_loader.py "$out/demo"
    else
        echo "SKIPPED: SOL-ExecBench is in no registry; set SOL_EXECBENCH_SRC to a checkout of NVIDIA/SOL-ExecBench"
    fi
}

environment() {
    python=$(test/interop/venv.sh "$tools/interop-venv" test/interop/requirements.txt)
}

part "the official Hub client" test/interop/hub.sh "$tools"
part "SGLang's own argument parsers" test/interop/sglang_flags.sh "$tools"
part "collect --engine simulate, the demo's definitions" demo
part "recorded dumps, by sanitize and by collect --engine replay" recorded
part "torch, FlashInfer and flashinfer-bench (6 GB)" environment
part "flashinfer-bench's models and loader, the safetensors package" datasets
part "flashinfer-bench run, and what stands in for it" "$python" test/interop/evaluate.py
part "baselines, by the signatures of FlashInfer's releases" test/interop/baseline.sh "$python" "$tools"
part "flashinfer-bench validate" validate
part "SOL-ExecBench's loader" solexecbench
part "definitions harvest, of FlashInfer's own tracer" test/interop/harvest.sh "$python"
part "FlashInfer's own logger" test/interop/flashinfer.sh "$python" "$tools"
part "what SGLang calls and passes, in the released wheels" test/interop/call_sites.sh "$python" "$tools"
rm -rf "$out"
