#!/bin/sh
# Sees to the servers and tools that the tests start themselves: Redis, PostgreSQL, Orthanc, nginx, Caddy, Chromium, fonts for Japanese pages,
# wrk (which also measures in `make bench`), systemd-analyze (of systemd, which looks at our unit). Envoy comes with the Python packages.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }
PATH=$PATH:/usr/sbin:/sbin
here=$(dirname "$0")

# A browser that does run. Ubuntu's chromium is a stub that wants the snap service, which containers don't have.
browser() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null 2>&1 && "$name" --version >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}
japanese_font() { [ -n "$(find /usr/share/fonts /usr/local/share/fonts -iname 'Noto*CJK*' 2>/dev/null | head -n 1)" ]; }
# Debian keeps the server's programs out of the way, by version.
postgres_there() { ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1; }
ubuntu() { grep -q '^ID=ubuntu$' /etc/os-release 2>/dev/null; }

missing=
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
postgres_there || missing="$missing postgresql"
command -v wrk >/dev/null 2>&1 || missing="$missing wrk"
command -v Orthanc >/dev/null 2>&1 || missing="$missing orthanc"
command -v nginx >/dev/null 2>&1 || missing="$missing nginx"
command -v caddy >/dev/null 2>&1 || missing="$missing caddy"
command -v openssl >/dev/null 2>&1 || missing="$missing openssl"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
japanese_font || missing="$missing fonts-noto-cjk"
browser || ubuntu || missing="$missing chromium"

if [ -n "$missing" ]; then
    # shellcheck disable=SC2086  # a list of names
    sh "$here/packages.sh" $missing
fi
if ! browser; then
    say "no Chromium runs here (Ubuntu's is a snap): install google-chrome-stable or Debian's chromium, and run this again"
    exit 1
fi
