#!/usr/bin/env bash
# Part of `make interop`: the tables of internal/reach against the source of the released wheels of SGLang and FlashInfer, 0.5.8 to
# 0.5.23 (about 270 MB, kept in $2/reach-wheels; those that other parts have are linked). $1 is an interpreter with pip. Nothing is
# installed or imported: the wheels' files are parsed. sgl_kernel's wheels (400 MB each) are not downloaded; put one into the folder to
# check the call sites in it too.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "$1")
tools=$(realpath -s "$2")
wheels=$tools/reach-wheels
mkdir -p "$wheels"
for wheel in "$tools"/sglang-wheels/*.whl "$tools"/flashinfer-wheels/*.whl; do
    if [ -e "$wheel" ]; then ln -sf "$wheel" "$wheels/"; fi
done
releases() { "$python" -c 'import json, sys; print(*(r[sys.argv[1]] for r in json.load(open("internal/reach/apis.json"))["releases"]))' "$1"; }
# shellcheck disable=SC2046
test/interop/wheels.sh "$python" "$wheels" sglang $(releases sglang) -- --python-version 3.12 --platform manylinux_2_34_x86_64 ||
    echo "wheels of SGLang could not be downloaded"
# shellcheck disable=SC2046
test/interop/wheels.sh "$python" "$wheels" flashinfer-python $(releases flashinfer) || echo "wheels of FlashInfer could not be downloaded"

"$python" test/interop/call_sites_test.py
status=0
"$python" test/interop/call_sites.py internal/reach/calls.json internal/reach/apis.json "$wheels" || status=$?
if [ "$status" = 2 ]; then
    echo "SKIPPED: the call sites of releases without a wheel"
elif [ "$status" != 0 ]; then
    exit "$status"
fi
TRACEFLEET_SGLANG_WHEELS=$wheels go test -count=1 -v -run 'TestSources' ./internal/reach | grep -E '^(ok|FAIL|---|\s+---|\s+\S+_test.go)'
