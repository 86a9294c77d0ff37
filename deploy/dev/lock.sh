#!/bin/sh
# Writes deploy/locks/ anew from pyproject.toml: exact versions with hashes, for every platform and Python from 3.11 on.
# Needs uv (any package index will do: the locks hold no addresses). Review the difference like code.
set -eu

cd "$(dirname "$0")/../.."
uv=$(command -v uv || true)
[ -n "$uv" ] || [ ! -x .venv/bin/uv ] || uv=.venv/bin/uv
if [ -z "$uv" ]; then
    printf 'lock: uv is needed: install it, for instance with .venv/bin/python -m pip install uv\n' >&2
    exit 1
fi

compile() {
    output=$1
    shift
    printf 'lock: %s\n' "$output" >&2
    "$uv" pip compile --quiet pyproject.toml "$@" --universal --generate-hashes --no-header --no-emit-index-url --no-emit-find-links \
        --python-version 3.11 --upgrade -o "$output"
}

compile deploy/locks/run.txt --group build
compile deploy/locks/test.txt --group build --group test
