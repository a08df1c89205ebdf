#!/usr/bin/env bash
# Gets what `make bench` compares with and measures by, into .testbed/bench-<version>/: the Go
# adapter of the field, and h2load with the libraries that the machine lacks. A second run does
# nothing. Prints the folder. What cannot be had is left out and said: the bench does without.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

adapter=v1.37.0
out="$root/.testbed/bench-$adapter"
mkdir -p "$out/lib"

say() { printf 'bench: %s\n' "$*" >&2; }

if [ ! -x "$out/test-adapter" ]; then
    if command -v go >/dev/null; then
        say "building the Go adapter custom-metrics-apiserver $adapter (about 3 minutes on two cores, once)"
        scratch=$(mktemp -d "$out/build.XXXXXX")
        CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath" GOTOOLCHAIN=auto GOBIN="$scratch" \
            go install -ldflags "-s -w" "sigs.k8s.io/custom-metrics-apiserver/test-adapter@$adapter"
        mv -f "$scratch/test-adapter" "$out/test-adapter"
        rmdir "$scratch"
    else
        say "Go 1.26 or newer is needed to build the Go adapter: without it there is nothing to compare with"
    fi
fi

# Debian's packages, unpacked and not installed.
fetch() {
    (cd "$1" && { apt-get download "${@:2}" || { apt-get update && apt-get download "${@:2}"; }; } &&
        for package in ./*.deb; do dpkg -x "$package" . || exit 1; done) >"$1.log" 2>&1
}

if [ ! -e "$out/h2load" ]; then
    if command -v h2load >/dev/null; then
        ln -sf "$(command -v h2load)" "$out/h2load"
    else
        scratch=$(mktemp -d "$out/build.XXXXXX")
        if command -v apt-get >/dev/null && command -v dpkg >/dev/null &&
            fetch "$scratch" nghttp2-client libnghttp2-14 libev4 libjemalloc2; then
            say "using Debian's package of h2load"
            find "$scratch" -name '*.so.*' -exec cp -P {} "$out/lib/" \;
            if LD_LIBRARY_PATH="$out/lib" "$scratch/usr/bin/h2load" --version >/dev/null 2>&1; then
                mv -f "$scratch/usr/bin/h2load" "$out/h2load"
            else
                say "Debian's h2load does not run here: the bench's own client measures instead"
            fi
        else
            say "there is no h2load (Debian: nghttp2-client): the bench's own client measures instead"
        fi
        rm -rf "$scratch" "$scratch.log"
    fi
fi
printf '%s\n' "$out"
