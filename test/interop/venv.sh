#!/usr/bin/env bash
# Makes a Python environment in $1 with what the requirements file $2 names, and prints the path of its interpreter. Kept while the file
# is the same; an unfinished one is made anew. It has pip, which downloads wheels too. uv installs, where it is there: it is faster.
set -euo pipefail
dir=$1
requirements=$2
key=$(sha256sum <"$requirements" | cut -c1-16)
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

start=$SECONDS
rm -rf "$dir"
"$python" -m venv "$dir" >&2
if command -v uv >/dev/null; then
    uv pip install --quiet --python "$dir/bin/python" -r "$requirements" >&2
else
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements" >&2
fi
echo "$key" >"$dir/.key"
echo "make interop: installed $(basename "$requirements") into $dir in $((SECONDS - start)) s" >&2
echo "$dir/bin/python"
