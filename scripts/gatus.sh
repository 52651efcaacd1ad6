#!/bin/sh
# Build Gatus for tests/test_gatus.py, from the Go module of its name, into .cache/gatus; does nothing when it is there.
# Where Go has no access to that module, it says so and the test is skipped. GATUS_VERSION chooses another version.
set -eu
cd "$(dirname "$0")/.."
version=${GATUS_VERSION:-latest}
folder=$(pwd)/.cache/gatus
[ -x "$folder/bin/gatus" ] && exit 0
command -v go >/dev/null 2>&1 || {
    echo "gatus.sh: there is no go: install Go 1.26 or newer" >&2
    exit 1
}
mkdir -p "$folder"
echo "building Gatus $version (minutes, once) ..."
GOPATH="$folder/go" GOBIN="$folder/bin" GOCACHE="$folder/cache" GOFLAGS=-modcacherw CGO_ENABLED=0 \
    nice -n 15 go install "github.com/TwiN/gatus/v5@$version" || {
    echo "gatus.sh: Gatus $version cannot be built here; tests/test_gatus.py is skipped" >&2
    exit 1
}
rm -rf "$folder/go" "$folder/cache"
