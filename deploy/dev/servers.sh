#!/bin/sh
# Sees to the servers and the browser that the tests start themselves: Redis, Orthanc, Chromium, and fonts for Japanese pages.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }
PATH=$PATH:/usr/sbin:/sbin
here=$(dirname "$0")

# A browser that does run: Ubuntu's chromium is a stub that wants the snap service, which containers don't have.
browser() {
    for name in /usr/bin/chromium chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name" >/dev/null 2>&1 && "$name" --version >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}
japanese_font() { [ -n "$(find /usr/share/fonts /usr/local/share/fonts -iname 'Noto*CJK*' 2>/dev/null | head -n 1)" ]; }

missing=
command -v redis-server >/dev/null 2>&1 || missing="$missing redis-server"
command -v Orthanc >/dev/null 2>&1 || missing="$missing orthanc"
japanese_font || missing="$missing fonts-noto-cjk"
browser || missing="$missing chromium"
[ -n "$missing" ] || exit 0

# shellcheck disable=SC2086  # a list of names
sh "$here/packages.sh" $missing

# A package enables its service for the next boot too; the tests start their own processes, on ports and folders of their own.
if command -v systemctl >/dev/null 2>&1; then
    for service in redis-server orthanc; do
        case " $missing " in
        *" $service "*)
            if [ "$(id -u)" = 0 ]; then
                systemctl disable --quiet "$service" >/dev/null 2>&1 || say "the service $service is enabled; disable it if you like"
            else
                sudo -n systemctl disable --quiet "$service" >/dev/null 2>&1 || say "the service $service is enabled; disable it if you like"
            fi
            ;;
        esac
    done
fi
if ! browser; then
    say "there is no Chromium that runs here (Ubuntu's is a snap): install google-chrome, or Debian's chromium, and run this again"
    exit 1
fi
