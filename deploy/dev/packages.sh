#!/bin/sh
# Installs Debian packages: packages.sh NAME... Starts no service, now or at the next boot. Fails with one line where it may not.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }

if ! command -v apt-get >/dev/null 2>&1; then
    say "this is no Debian or Ubuntu: install yourself what these packages hold: $*"
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    as_root() { "$@"; }
elif sudo -n true >/dev/null 2>&1; then
    as_root() { sudo -n "$@"; }
else
    say "missing Debian packages, and no right to install them. As root: apt-get install $*"
    exit 1
fi

log=$(mktemp)
rule=/usr/sbin/policy-rc.d
placed=
finish() {
    rm -f "$log"
    [ -z "$placed" ] || as_root rm -f "$rule"
}
trap finish EXIT
trap 'exit 130' INT TERM

# invoke-rc.d asks this file whether a package may start its service; 101 is no (Debian policy 9.11).
if [ ! -e "$rule" ]; then
    placed=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$rule" >/dev/null
    as_root chmod 755 "$rule"
fi

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1
}

# Names of enabled services, on one line.
services() {
    command -v systemctl >/dev/null 2>&1 || return 0
    systemctl list-unit-files --type=service --state=enabled --no-legend 2>/dev/null | awk '{ printf "%s ", $1 }'
}

say "installing Debian packages: $*"
# The lists may be old, or not there at all in an image. One unreachable source of many makes `update` fail; what counts is the install.
apt update || say "some package lists could not be fetched; trying with those that are there"
before=$(services)
if ! apt install --no-install-recommends "$@"; then
    tail -n 15 "$log" >&2
    say "apt-get install failed: $*"
    exit 1
fi
# Packages also enable their services for the next boot; who installs for tests did not ask for that.
for service in $(services); do
    case " $before " in
    *" $service "*) ;;
    *) as_root systemctl disable --quiet "$service" >>"$log" 2>&1 || say "$service will start with the machine; disable it if you like" ;;
    esac
done
