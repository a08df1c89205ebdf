#!/usr/bin/env bash
# Builds the real parts that the end-to-end tests run on, from pinned sources, into
# .testbed/<version>/. A second run compiles nothing. `make testbed` calls it.
#
#   KUBEBUILDER_ASSETS or HIRL_TESTBED_BIN   a folder with ready binaries: nothing they hold is built
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)

kubernetes=v1.36.3
kwok=v0.8.0
prometheus_go=v0.307.3
out="$root/.testbed/$kubernetes-kwok-$kwok"
given=${HIRL_TESTBED_BIN:-${KUBEBUILDER_ASSETS:-}}
mkdir -p "$out"

say() { printf 'testbed: %s\n' "$*" >&2; }
have() { [ -x "$out/$1" ]; }
need_go() {
    command -v go >/dev/null && return
    say "Go 1.26 or newer is needed to build the control plane: install it and put 'go' on PATH, or set KUBEBUILDER_ASSETS"
    exit 1
}
# Puts a finished binary in its place in one step, so that a killed build leaves nothing half-made.
place() { chmod +x "$1" && mv -f "$1" "$out/$2"; }

if [ -n "$given" ]; then
    for part in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl kwok prometheus; do
        [ ! -x "$given/$part" ] || ln -sf "$given/$part" "$out/$part"
    done
fi

export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath" GOTOOLCHAIN=auto

missing=()
for part in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
    have "$part" || missing+=("k8s.io/kubernetes/cmd/$part")
done
have etcd || missing+=("go.etcd.io/etcd/server/v3")
if [ ${#missing[@]} -gt 0 ]; then
    need_go
    say "building ${#missing[@]} parts of Kubernetes $kubernetes (about 5 minutes on two cores, once)"
    version=k8s.io/component-base/version
    scratch=$(mktemp -d "$out/build.XXXXXX")
    # Without a version the API server calls itself v0.0.0, and clients that look at it misbehave.
    (cd "$here/kubernetes" && go build -o "$scratch/" \
        -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=36" \
        "${missing[@]}")
    [ ! -e "$scratch/server" ] || mv "$scratch/server" "$scratch/etcd"
    for built in "$scratch"/*; do place "$built" "$(basename "$built")"; done
    rmdir "$scratch"
fi

if ! have kwok; then
    need_go
    say "building kwok $kwok"
    scratch=$(mktemp -d "$out/build.XXXXXX")
    GOBIN="$scratch" go install -ldflags "-s -w" "sigs.k8s.io/kwok/cmd/kwok@$kwok"
    place "$scratch/kwok" kwok
    rmdir "$scratch"
fi

if ! have prometheus; then
    if command -v prometheus >/dev/null; then
        ln -sf "$(command -v prometheus)" "$out/prometheus"
    else
        scratch=$(mktemp -d "$out/build.XXXXXX")
        # The distribution's package, unpacked and not installed: no system service is wanted.
        if command -v apt-get >/dev/null && command -v dpkg >/dev/null &&
            (cd "$scratch" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } && dpkg -x prometheus_*.deb .) >"$scratch/log" 2>&1; then
            say "using Debian's package of Prometheus"
            place "$scratch/usr/bin/prometheus" prometheus
        else
            need_go
            say "building Prometheus $prometheus_go (about 7 minutes on two cores, once)"
            (cd "$here/prometheus" && go build -tags netgo,builtinassets -ldflags "-s -w" -o "$scratch/prometheus.bin" github.com/prometheus/prometheus/cmd/prometheus)
            place "$scratch/prometheus.bin" prometheus
        fi
        rm -rf "$scratch"
    fi
fi
printf '%s\n' "$out"
