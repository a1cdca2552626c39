#!/usr/bin/env bash
# `make demo`: a small collection from the simulated engine, and its pull requests on a Hub of our own, all in demo-out/.
set -euo pipefail
cd "$(dirname "$0")/.."
tf=bin/tracefleet
rm -rf demo-out && mkdir -p demo-out/dataset && cp -r testdata/dataset/definitions demo-out/dataset/

"$tf" hub-sandbox --dir demo-out/hub >demo-out/hub.env 2>demo-out/hub.log &
trap 'kill %1 2>/dev/null' EXIT
for _ in $(seq 100); do
    grep -qs HF_TOKEN demo-out/hub.env && break
    sleep 0.1
done
# shellcheck disable=SC1091
. demo-out/hub.env

"$tf" collect --engine simulate --all --batch-sizes 4 16 --dump-count 120 --dump-rate 150 \
    --trace-dir demo-out/dataset --state-dir demo-out/state --repo-id flashinfer-ai/flashinfer-trace --no-eval
"$tf" inspect demo-out/dataset
# On the same port, so that the links above work again.
cat <<END

The simulated engine made calls, which became workloads (demo-out/dataset). Each definition has a pull request on a local Hub (demo-out/hub).
To look at them:

  $tf hub-sandbox --dir demo-out/hub --listen ${HF_ENDPOINT#http://}
      runs that Hub until Ctrl-C. The pull requests are at
      $HF_ENDPOINT/datasets/flashinfer-ai/flashinfer-trace/discussions

  head -n 1 demo-out/dataset/workloads/gqa_paged/gqa_paged_decode_h32_kv8_d128_ps1.jsonl
      prints a workload: its axes and the paths of its tensors

  $tf jobs list --state-dir demo-out/state
      lists the collection

For your own dumps or a GPU, read "Convert recorded dumps" and "Real inference" in README.md.
END
