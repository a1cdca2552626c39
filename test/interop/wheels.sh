#!/usr/bin/env bash
# Downloads wheels of a package's releases into a directory, those that are not there, with the pip of an interpreter.
#
#   wheels.sh PYTHON DIR PACKAGE RELEASE... [-- PIP_ARGUMENT...]
set -euo pipefail
python=$1 dir=$2 package=$3
shift 3
releases=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    releases+=("$1")
    shift
done
[ $# -eq 0 ] || shift

mkdir -p "$dir"
for release in "${releases[@]}"; do
    if ! compgen -G "$dir/${package//-/_}-$release-*.whl" >/dev/null; then
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: "$@" --dest "$dir" "$package==$release"
    fi
done
