#!/bin/sh
# Install the system packages that a target needs: on Debian and Ubuntu as root; elsewhere say in one line what is
# missing. Usage: system-packages.sh demo|test
set -eu
what=$1
packages=""
need() { # need PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || packages="$packages $2"
}
need redis-server redis-server
need prometheus prometheus
need prometheus-alertmanager prometheus-alertmanager
need prometheus-redis-exporter prometheus-redis-exporter
if [ "$what" = test ]; then
    [ -n "$(ls -d /usr/lib/postgresql/*/bin/initdb 2>/dev/null)" ] || packages="$packages postgresql"
    need podman podman
    need crun crun
    [ -x /bin/busybox ] || packages="$packages busybox-static"
    need java default-jre-headless
    need mvn maven
    need chromium chromium
fi
[ -z "$packages" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing:$packages ..."
    # RUNLEVEL=1: install the programs without starting them as services of this machine.
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $packages >/dev/null
elif [ "$what" = demo ]; then
    echo "missing system packages:$packages (on Debian or Ubuntu: sudo apt-get install$packages)" >&2
    exit 1
else
    echo "missing system packages, tests that need them are skipped and counted:$packages" >&2
fi
