#!/usr/bin/env bash
# Real inference on one GPU, through our own worker: all three modes, pages of 1 and 64 tokens, batch sizes 8 and 32, norms and
# sampling, the trace dump's definitions, and the cost of dumping. The model is a Llama shape of two layers with random weights; the step mla
# has a DeepSeek-V2 shape with YaRN, and prints the softmax scale of each workload.
#
#   test/gpu/run.sh OUT_DIR [PYTHON]
#
# Needs bin/tracefleet (make build), one GPU, and a Python with SGLang and FlashInfer (else the one that `gpuworker setup` made).
# STEPS names a part of what is below to run (collect harvest mla cost record gate baselines). record and gate also publish to a Hub on loopback,
# gated by flashinfer-bench; baselines needs Go, or INDEX, what `go run ./test/interop/baselines` printed elsewhere. Everything is left in OUT_DIR: dataset/, harvest/, cost.txt,
# recorded.tar.xz, and a log a step. Ends with exit status 1 if any step failed. On one H200 of 16 cores it took 21 minutes, 7 of them for
# FlashInfer's first compilation.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { sed -n '2,14p' "$0" >&2; exit 2; }
mkdir -p "$1" && out=$(cd "$1" && pwd)
tf=${TRACEFLEET:-$root/bin/tracefleet}
python=()
[ -z "${2:-}" ] || python=(--python "$2")
failed=0

# step NAME COMMAND...: runs it, keeps what it prints, and goes on if it fails. OKAY is another exit status that is no failure.
step() {
    local name=$1 began=$SECONDS rc=0
    shift
    echo "=== $name: $*"
    "$@" >"$out/$name.out" 2>"$out/$name.err" || rc=$?
    cat "$out/$name.out"
    if [ $rc -ne 0 ] && [ $rc -ne "${OKAY:-0}" ]; then
        echo "=== $name: exit $rc"
        tail -n 25 "$out/$name.err"
        failed=1
    fi
    echo "=== $name: $((SECONDS - began)) s"
}

# The definitions that a Llama of this shape calls, from the project's own dataset and from here.
dataset=$out/dataset
mkdir -p "$dataset/definitions/"{gqa_paged,gqa_ragged,rmsnorm,sampling}
for d in gqa_paged/gqa_paged_decode_h32_kv8_d128_ps1 gqa_paged/gqa_paged_decode_h32_kv8_d128_ps64 gqa_paged/gqa_paged_prefill_causal_h32_kv8_d128_ps1 \
    gqa_ragged/gqa_ragged_prefill_causal_h32_kv8_d128 rmsnorm/rmsnorm_h4096 rmsnorm/fused_add_rmsnorm_h4096 \
    sampling/top_k_top_p_sampling_from_probs_v128256; do
    cp "$root/testdata/dataset/definitions/$d.json" "$dataset/definitions/$d.json"
done
cp "$here"/definitions/gqa_paged/*.json "$dataset/definitions/gqa_paged/"

# What every collection here has: random weights, and a small share of the GPU's memory.
common=(--engine sglang --model-path "$here/tiny-llama" "${python[@]}" --isl 512 --osl 64 --start-timeout 20m
    --extra-server-flag "--load-format dummy" "--grammar-backend none" "--mem-fraction-static 0.25" --gpus 0)
state=$out/state

# sandbox runs a Hub of our own until the end.
sandbox() {
    [ ! -e "$out/hub.env" ] || return 0
    "$tf" hub-sandbox --dir "$out/hub" >"$out/hub.env" 2>"$out/hub.log" &
    trap 'kill %1 2>/dev/null' EXIT
    until grep -q HF_TOKEN "$out/hub.env"; do sleep 0.2; done
}

want() { [ -z "${STEPS:-}" ] || [[ " $STEPS " == *" $1 "* ]]; }

step doctor "$tf" doctor "${python[@]}"
if want collect; then
    step collect "$tf" collect "${common[@]}" --trace-dir "$dataset" --state-dir "$state" --all \
        --batch-sizes 8 32 --trace-dump
    step inspect "$tf" inspect "$dataset"
fi
if want harvest; then
    step jobs "$tf" jobs list --state-dir "$state"
    id=$("$tf" jobs list --state-dir "$state" --json 2>/dev/null | sed -n 's/.*"id": "\(c-[0-9a-f]*\)".*/\1/p' | head -1)
    step harvest "$tf" definitions harvest --job "$id" --state-dir "$state" --trace-dir "$dataset" --out "$out/harvest" --model tiny-llama
fi
if want mla; then
    # Latent attention: paged decode, paged prefill and ragged prefill. The last has no softmax scale in its own dumps: it takes that of the
    # paged plans, 192^-0.5 times the square of YaRN's mscale, 0.11472138679. 192^-0.5 alone is 0.0722.
    mkdir -p "$out/mla/definitions"
    cp -r "$root/testdata/dataset/definitions/mla_paged" "$here/definitions/mla_ragged" "$out/mla/definitions/"
    step mla "$tf" collect "${common[@]}" --model-path "$here/tiny-deepseek" --trace-dir "$out/mla" --state-dir "$out/mla-state" --all --batch-sizes 4
    step mla-scales "${2:-python3}" "$here/scales.py" "$out/mla" 0.11472138679
fi
if want cost; then
    # The same traffic three times on one GPU with nothing beside it: no dumps, plans, runs.
    for dump in none plan run; do
        mkdir -p "$out/cost-$dump/definitions"
        cp -r "$dataset/definitions/gqa_paged" "$out/cost-$dump/definitions/"
        OKAY=3 step "cost-$dump" "$tf" collect "${common[@]}" --trace-dir "$out/cost-$dump" --state-dir "$out/cost-state-$dump" \
            --definitions gqa_paged_decode_h32_kv8_d128_ps1 --batch-sizes 16 --num-batches 3 --osl 256 --dump-count 100000 --dump "$dump"
        { printf '%-5s ' "$dump"; grep -h 'tokens/s' "$out/cost-$dump.out"; } >>"$out/cost.txt"
    done
    cat "$out/cost.txt"
fi
if want record; then
    # A few real dumps, runs too, of a small pool: what testdata/recorded holds. Their workloads go to a Hub of our own, and the real
    # flashinfer-bench evaluates the baseline on them before their pull requests are opened.
    mkdir -p "$out/record/definitions"
    cp -r "$dataset"/definitions/* "$out/record/definitions/"
    sandbox
    step record env $(sed -n 's/^export //p' "$out/hub.env") "$tf" collect "${common[@]}" --trace-dir "$out/record" --state-dir "$out/record-state" \
        --batch-sizes 4 --num-batches 2 --workloads-per-batch 3 --repo-id flashinfer-ai/flashinfer-trace \
        --dump run --dump-count 60 --keep-dumps 3 --extra-server-flag "--max-total-tokens 4096" \
        --definitions gqa_paged_decode_h32_kv8_d128_ps1 gqa_paged_prefill_causal_h32_kv8_d128_ps64 gqa_ragged_prefill_causal_h32_kv8_d128 \
        rmsnorm_h4096 fused_add_rmsnorm_h4096 top_k_top_p_sampling_from_probs_v128256
    step pack python3 "$here/record.py" "$out/recorded.tar.xz" "$out"/record-state/work/kept/*
fi
if want gate; then
    # Simulated workloads of every definition of the demo that this GPU can run: the real flashinfer-bench and our gate on each.
    mkdir -p "$out/gate"
    cp -r "$root/testdata/dataset/definitions" "$out/gate/"
    rm -r "$out/gate/definitions/moe" # Blackwell's
    sandbox
    step gate env $(sed -n 's/^export //p' "$out/hub.env") "$tf" collect --engine simulate --all --batch-sizes 4 16 --dump-count 120 "${python[@]}" --gpus 0 \
        --trace-dir "$out/gate" --state-dir "$out/gate-state" --repo-id flashinfer-ai/flashinfer-trace
fi
if want baselines; then
    # Every baseline, those of no engine here too, on small workloads that are made up.
    index=${INDEX:-$out/baselines-index/index.jsonl}
    if [ -z "${INDEX:-}" ]; then
        mkdir -p "$out/baselines-index"
        (cd "$root" && go run ./test/interop/baselines "$out/baselines-index" testdata/dataset test/gpu) >"$index"
    fi
    step baselines "${2:-python3}" "$here/baselines.py" "$index" "$out/baselines"
fi
exit $failed
