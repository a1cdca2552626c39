#!/usr/bin/env bash
# Part of `make interop`: SGLang's own argument parsers, of the released wheels, judge the command lines that are made for them.
# The wheels (about 65 MB, kept in $1/sglang-wheels) are only unpacked: neither torch nor a GPU is needed. Commands are those
# that `bin/tracefleet collect --plan-only` prints for the demo's definitions, and those of internal/launch's test, which makes one
# for every API, mode and release. Further files of commands may be given after $1.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
tools=${1:?usage: sglang_flags.sh TOOLS [COMMANDS...]}
shift

python=$(test/interop/venv.sh "$tools/sglang-venv" test/interop/sglang_requirements.txt)

wheels=$tools/sglang-wheels
releases=$("$python" -c 'import sys; sys.path.insert(0, "test/interop"); import sglang_flags; print(*sglang_flags.RELEASES)')
# The newest release has no wheel for Python 3.10, and what is read of a wheel is the same on every platform.
# shellcheck disable=SC2086
test/interop/wheels.sh "$python" "$wheels" sglang $releases -- --python-version 3.12 --platform manylinux_2_34_x86_64

"$python" test/interop/sglang_flags_test.py "$wheels"
"$python" test/interop/sglang_record.py --check internal/sglang/table.jsonl "$wheels"/*.whl
commands=$(mktemp -d)
trap 'rm -rf "$commands"' EXIT
TRACEFLEET_COMMANDS=$commands/apis.jsonl go test -count=1 -run TestForTask_EveryAPI ./internal/launch >/dev/null
for release in $releases; do
    for gpu in h100 b200; do
        bin/tracefleet collect --plan-only --json --engine sglang --sglang-version "$release" --gpu-type "$gpu" --model-path org/model \
            --all --trace-dir testdata/dataset --state-dir "$commands/state" --batch-sizes 1,64 \
            --extra-server-flag=--disable-cuda-graph '--extra-server-flag=--load-format dummy' >"$commands/plan-$release-$gpu.json" 2>"$commands/log" ||
            { cat "$commands/log" && exit 1; }
    done
done
echo "--- of collect --plan-only"
"$python" test/interop/sglang_flags.py "$wheels" "$commands"/plan-*.json
echo "--- of every API"
"$python" test/interop/sglang_flags.py "$wheels" "$commands/apis.jsonl" "$@"
