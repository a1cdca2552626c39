#!/usr/bin/env bash
# Makes the Python environment of `make interop` in $1 and prints the path of its interpreter. Kept while requirements.txt is
# the same; an unfinished one is made anew. Uses uv where it is installed, else venv and pip.
set -euo pipefail
dir=$1
here=$(cd "$(dirname "$0")" && pwd)
key=$(sha256sum <"$here/requirements.txt" | cut -c1-16)
if [ "$(cat "$dir/.key" 2>/dev/null)" = "$key" ]; then
    echo "$dir/bin/python"
    exit 0
fi

python=""
for candidate in python3.11 python3.12 python3.10 python3; do
    if command -v "$candidate" >/dev/null &&
        "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "make interop: no Python 3.10 to 3.12 with venv found; install python3.11 and python3.11-venv" >&2
    exit 1
fi

echo "make interop: installing torch and flashinfer-bench into $dir (about 6 GB, some minutes)" >&2
rm -rf "$dir"
if command -v uv >/dev/null; then
    uv venv --quiet --python "$python" "$dir" >&2
    uv pip install --quiet --python "$dir/bin/python" -r "$here/requirements.txt" >&2
else
    "$python" -m venv "$dir" >&2
    "$dir/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
fi
"$dir/bin/python" -c 'import flashinfer_bench.data, safetensors, torch' >&2
echo "$key" >"$dir/.key"
echo "$dir/bin/python"
