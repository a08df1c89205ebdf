#!/usr/bin/env bash
# Builds the real parts that the end-to-end tests run on, from pinned sources, into
# .testbed/<version>/. A second run compiles nothing. `make testbed` calls it.
#
#   HIRL_TESTBED_BIN or KUBEBUILDER_ASSETS   a folder with a whole control plane: it is used as it
#                                            is, and only what it lacks besides is built
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)

kubernetes=v1.36.3
kwok=v0.8.0
prometheus_go=v0.307.3
out="$root/.testbed/$kubernetes-kwok-$kwok"
mkdir -p "$out"

say() { printf 'testbed: %s\n' "$*" >&2; }
need_go() {
    command -v go >/dev/null && return
    say "Go 1.26 or newer is needed to build $1: install it and put 'go' on PATH, or point HIRL_TESTBED_BIN at ready binaries"
    exit 1
}
# Puts a finished binary in its place in one step, so that a killed build leaves nothing half-made.
place() { chmod +x "$1" && mv -f "$1" "$out/$2"; }

# Parts of different versions are not mixed: a folder counts with a whole control plane or not at all.
given=
for folder in "${HIRL_TESTBED_BIN:-}" "${KUBEBUILDER_ASSETS:-}"; do
    [ -n "$folder" ] && [ -z "$given" ] || continue
    for part in etcd kube-apiserver kube-controller-manager kube-scheduler kubectl; do
        [ -x "$folder/$part" ] || { say "$folder holds no $part: it is not used"; continue 2; }
    done
    given=$folder
done
have() { [ -x "$out/$1" ] || { [ -n "$given" ] && [ -x "$given/$1" ]; }; }

# One build at a time; what a killed one left behind goes.
exec 9>"$out/.lock"
flock 9
rm -rf "$out"/build.*
scratch=$(mktemp -d "$out/build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath" GOTOOLCHAIN="${GOTOOLCHAIN:-auto}"

missing=()
for part in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
    have "$part" || missing+=("k8s.io/kubernetes/cmd/$part")
done
have etcd || missing+=("go.etcd.io/etcd/server/v3")
if [ ${#missing[@]} -gt 0 ]; then
    need_go "the control plane"
    say "building ${#missing[@]} parts of Kubernetes $kubernetes (5 to 15 minutes on two cores, once)"
    version=k8s.io/component-base/version
    mkdir "$scratch/kubernetes"
    # Without a version the API server calls itself v0.0.0, and clients that look at it misbehave.
    (cd "$here/kubernetes" && go build -o "$scratch/kubernetes/" \
        -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 -X $version.gitMinor=36" \
        "${missing[@]}")
    # The package of etcd's server is called after its folder.
    [ ! -e "$scratch/kubernetes/server" ] || mv "$scratch/kubernetes/server" "$scratch/kubernetes/etcd"
    for built in "$scratch"/kubernetes/*; do place "$built" "$(basename "$built")"; done
fi

if ! have kwok; then
    need_go kwok
    say "building kwok $kwok"
    GOBIN="$scratch" go install -ldflags "-s -w" "sigs.k8s.io/kwok/cmd/kwok@$kwok"
    place "$scratch/kwok" kwok
fi

# The distribution's package, unpacked and not installed: no system service is wanted, and it takes
# no rights. Only a machine that has no package lists yet must be root's to fetch them.
unpack_prometheus() {
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    mkdir "$scratch/deb" && cd "$scratch/deb" || return 1
    apt-get download prometheus || { apt-get update && apt-get download prometheus; } || return 1
    dpkg-deb -x prometheus_*.deb . && ./usr/bin/prometheus --version && ./usr/bin/promtool --version
}

# promtool judges the alert rules.
if ! have prometheus || ! have promtool; then
    if server=$(command -v prometheus) && tool=$(command -v promtool); then
        ln -sf "$server" "$out/prometheus"
        ln -sf "$tool" "$out/promtool"
    elif (unpack_prometheus) >"$scratch/prometheus.log" 2>&1; then
        say "using the distribution's package of Prometheus"
        place "$scratch/deb/usr/bin/prometheus" prometheus
        place "$scratch/deb/usr/bin/promtool" promtool
    else
        need_go Prometheus
        say "building Prometheus $prometheus_go (about 7 minutes on two cores, once)"
        # Without its web pages, which the module does not hold.
        mkdir "$scratch/prometheus"
        (cd "$here/prometheus" && go build -ldflags "-s -w" -o "$scratch/prometheus/" \
            github.com/prometheus/prometheus/cmd/prometheus github.com/prometheus/prometheus/cmd/promtool)
        for built in "$scratch"/prometheus/*; do place "$built" "$(basename "$built")"; done
    fi
fi
printf '%s\n' "${given:-$out}"
