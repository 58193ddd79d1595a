#!/bin/sh
# Install Debian packages for the cluster tests (docs/operations/test-cluster.md): etcd, containerd with its helpers, and
# buildah. Do nothing if all are installed. Root (or sudo) is needed only if a package is missing.
set -eu

have() {
    for program in etcd containerd runc buildah debootstrap iptables ipset conntrack ip openssl; do
        command -v "$program" > /dev/null || return 1
    done
    [ -x /usr/lib/cni/bridge ]
}

if have; then
    echo "the programs of the test cluster are installed"
    exit 0
fi
as_root=""
[ "$(id -u)" = 0 ] || as_root="sudo"
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq
$as_root apt-get install -y -qq --no-install-recommends etcd-server containerd runc containernetworking-plugins \
    iptables nftables ipset conntrack iproute2 openssl buildah debootstrap
have || { echo "programs of the test cluster are still missing after apt-get install" >&2; exit 1; }
