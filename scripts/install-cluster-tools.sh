#!/bin/sh
# Installs what the cluster tests (docs/operations/test-cluster.md) take from Debian: etcd, containerd and its helpers, and the builder of images.
# Does nothing where all is there. Needs root (or sudo) only when something is missing.
set -eu

have() {
    for program in etcd containerd runc buildah debootstrap iptables ipset conntrack ip openssl; do
        command -v "$program" > /dev/null || return 1
    done
    [ -x /usr/lib/cni/bridge ]
}

if have; then
    echo "the programs of the test cluster are there"
    exit 0
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends etcd-server containerd runc containernetworking-plugins \
    iptables nftables ipset conntrack iproute2 openssl buildah debootstrap
have || { echo "programs of the test cluster are still missing after apt-get install" >&2; exit 1; }
