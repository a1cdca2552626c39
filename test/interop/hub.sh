#!/usr/bin/env bash
# Part of `make interop`: the official Hub client drives `bin/tracefleet hub-sandbox`, and reads back byte for byte what package hub
# pushed there. $1: where the environment is kept (20 MB of Python). Xet is off, since the sandbox speaks LFS alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
tools=${1:?usage: hub.sh TOOLS}

python=$(test/interop/venv.sh "$tools/hub-venv" test/interop/hub_requirements.txt)
out=$tools/interop-hub
rm -rf "$out"
mkdir -p "$out/dataset"
go build -o "$out/hubpush" ./test/interop/hubpush
pid=""
stop() {
    if [ -n "$pid" ]; then
        kill "$pid" && wait "$pid" || true
        pid=""
    fi
}
trap stop EXIT

# start: the sandbox on the same directory each time; its variables are exported here.
start() {
    rm -f "$out/env"
    bin/tracefleet hub-sandbox --dir "$out/hub" --seed-from testdata/dataset >"$out/env" 2>"$out/sandbox.log" &
    pid=$!
    for _ in $(seq 100); do
        if grep -q HF_HUB_DISABLE_XET "$out/env"; then
            # shellcheck disable=SC1091
            source "$out/env"
            return
        fi
        kill -0 "$pid" || break
        sleep 0.1
    done
    cat "$out/sandbox.log" >&2
    exit 1
}
export HF_HOME=$out/home HF_HUB_DISABLE_TELEMETRY=1 HF_HUB_DISABLE_PROGRESS_BARS=1

start
echo "--- the official client, writing and reading"
"$python" test/interop/hub.py drive
echo "--- what package hub pushed, read by the official client"
"$python" test/interop/hub.py make "$out/dataset"
"$out/hubpush" -again flashinfer-ai/flashinfer-trace "$out/dataset" >"$out/pushed.json"
"$python" test/interop/hub.py judge "$out/dataset" "$out/pushed.json"
stop
start
echo "--- the same, after a restart of the sandbox"
rm -rf "$HF_HOME"
"$python" test/interop/hub.py judge "$out/dataset" "$out/pushed.json"
stop
rm -rf "$out"
