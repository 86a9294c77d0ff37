#!/bin/sh
# Prepares .venv for running (`setup.sh run`) or for the tests too (`setup.sh test`). Quick when there is nothing to do.
# Needs sh, and Python 3.11 or newer; installs Debian packages only where it may (root, or sudo without a password).
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}

wanted=${1:-}
case $wanted in
run | test) ;;
*) fail "say what to prepare: setup.sh run, or setup.sh test" ;;
esac

root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
# What a person's shell says about Python must not reach into .venv.
unset PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV VIRTUAL_ENV
umask 022

# A stamp holds what .venv was made from, its place included: a folder that was moved or copied has to be set up again.
state() { { printf '%s\n' "$root" && cat "deploy/locks/$1.txt" pyproject.toml; } | sha256sum | cut -d ' ' -f 1; }
ready() { [ -x .venv/bin/gateway ] && .venv/bin/python -c "" 2>/dev/null && [ "$(cat ".venv/.ready-$1" 2>/dev/null)" = "$(state "$1")" ]; }

suits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Sets $python to the best one there is: new enough, and able to make environments. $python is empty when none is new enough.
find_python() {
    python=
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        suits "$candidate" || continue
        [ -n "$python" ] || python=$candidate
        if has_venv "$candidate"; then
            python=$candidate
            return
        fi
    done
}

# One that was made here: the commands in it name their interpreter by its full path.
usable_venv() {
    suits .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 && grep -qF "$root/.venv/" .venv/bin/pip
}

make_venv() {
    find_python
    if [ -z "$python" ]; then
        say "Python 3.11 or newer is needed"
        sh deploy/dev/packages.sh python3 python3-venv || exit 1
        find_python
        [ -n "$python" ] || fail "this system's Python is older: install 3.11 or newer, and run this again"
    fi
    rm -rf .venv
    if ! has_venv "$python" && ! command -v virtualenv >/dev/null 2>&1; then
        # Debian's python3 comes without these modules.
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        sh deploy/dev/packages.sh "python$version-venv" || exit 1
    fi
    say "making .venv with $("$python" --version)"
    if has_venv "$python"; then
        "$python" -m venv .venv
    else
        virtualenv --quiet --python "$python" .venv
    fi
}

# Runs pip with its words in a file; shows how far it is, and its last words when it fails.
quiet_pip() {
    log=.venv/setup.log
    printf '\n$ pip %s\n' "$*" >>"$log"
    if ! .venv/bin/python -m pip --disable-pip-version-check --no-input "$@" >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        fail "pip failed; all of its output is in $root/$log"
    fi
}

# Counts the packages that pip has looked at, until the file that it writes to is complete.
watch_pip() {
    while sleep 5 >/dev/null 2>&1; do
        say "  $(grep -c '^Collecting ' .venv/setup.log 2>/dev/null || true) of $1 packages"
    done
}

if ready test || { [ "$wanted" = run ] && ready run; }; then
    :
else
    usable_venv || make_venv
    lock=deploy/locks/$wanted.txt
    count=$(grep -c '^[a-z]' "$lock")
    say "installing $count Python packages, as locked in $lock"
    : >.venv/setup.log
    watch_pip "$count" &
    watcher=$!
    trap 'kill $watcher 2>/dev/null' EXIT
    trap 'exit 130' INT TERM
    quiet_pip install --require-hashes --only-binary :all: -r "$lock"
    quiet_pip install --no-deps --no-build-isolation --editable .
    kill $watcher 2>/dev/null
    trap - EXIT INT TERM
    state "$wanted" >".venv/.ready-$wanted"
    say ".venv is ready"
fi

if [ "$wanted" = test ]; then
    sh deploy/dev/servers.sh
fi
