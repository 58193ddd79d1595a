"""The node: containerd with a bridge network, kubelet, kube-proxy; and the removal of what they leave behind.

Settings that look odd are there for machines where limits cannot be raised and cgroups are version 1, such as a
container with two cores; they do no harm elsewhere. NetworkPolicies are not enforced: the bridge plugin knows none.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import yaml

from .places import BRIDGE, NODE, PODS, Places
from .processes import Processes
from .toolchain import ALL

PAUSE = "localhost/s2ops-pause:1"
NAME = "s2ops-node"
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


def make_bridge() -> None:
    """The pods' bridge, with the node's address on it, before anything listens there."""
    _quiet("ip", "link", "delete", BRIDGE)
    for words in (
        ["ip", "link", "add", BRIDGE, "type", "bridge"],
        ["ip", "address", "add", f"{NODE}/16", "dev", BRIDGE],
        ["ip", "link", "set", BRIDGE, "up"],
    ):
        subprocess.run(words, check=True)
    FORWARDING.write_text("1")


def start_containerd(places: Places, processes: Processes) -> None:
    """The container runtime; images can be imported once it answers."""
    places.containerd.mkdir(parents=True, exist_ok=True)
    network = places.work / "cni"
    network.mkdir(exist_ok=True)
    (network / "10-s2ops.conflist").write_text(json.dumps(_network()))
    config = places.work / "containerd.toml"
    config.write_text(_CONTAINERD.format(root=places.containerd, network=network, pause=PAUSE))
    processes.start("containerd", ["containerd", "--config", config])
    processes.wait("containerd", lambda: ctr(places, "version").returncode == 0, limit_s=30)


def ctr(places: Places, *words: str) -> subprocess.CompletedProcess[str]:
    """Ask containerd something, in the namespace of Kubernetes."""
    command = ["ctr", "--address", str(places.socket), "--namespace", "k8s.io", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def start_kubelet(places: Places, processes: Processes) -> None:
    """kubelet and kube-proxy; the node is Ready some seconds later."""
    binaries = ALL["kubernetes"].bin
    config, proxy = places.work / "kubelet.yaml", places.work / "kube-proxy.yaml"
    config.write_text(yaml.safe_dump(_kubelet(places)))
    proxy.write_text(yaml.safe_dump(_proxy(places)))
    words = [
        f"--config={config}",
        f"--kubeconfig={places.kubeconfig}",
        f"--hostname-override={NAME}",
        f"--node-ip={NODE}",
    ]
    processes.start("kubelet", [binaries / "kubelet", *words, f"--root-dir={places.work / 'kubelet'}"])
    processes.start("kube-proxy", [binaries / "kube-proxy", f"--config={proxy}"])


_CONTAINERD = """\
version = 2
root = "{root}/root"
state = "{root}/state"
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true          # a negative value needs a right that a container has not
  netns_mounts_under_state_dir = true    # so that clean-up finds them
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{network}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _network() -> dict[str, object]:
    """One bridge for all pods, addresses from a file; no masquerading, as nothing leaves the machine."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": PODS, "rangeStart": "10.85.1.0"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {
        "cniVersion": "0.4.0",
        "name": "s2ops",
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }


def _kubelet(places: Places) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{places.socket}",
        "clusterDNS": [NODE],
        "clusterDomain": "cluster.local",
        "failSwapOn": False,
        "resolvConf": "/etc/resolv.conf",
        "imageGCHighThresholdPercent": 100,  # every image is imported by hand: none may be thrown away for want of disk
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "maxPods": 110,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy(places: Places) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": NODE,
        "hostnameOverride": NAME,
        "clientConnection": {"kubeconfig": str(places.kubeconfig)},
        "clusterCIDR": PODS,
        "mode": "iptables",
        # 0 leaves the kernel's values alone: they cannot be set from a container.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def clean_up(places: Places) -> None:
    """Remove what outlives the programs: shims and their containers, mounts, cgroups, iptables rules, the bridge."""
    for pid in _shims(places):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in _in_pod_cgroups():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    for mount in reversed(_mounts_below(places.work)):
        _quiet("umount", "--lazy", mount)
    for folder in _pod_cgroups():
        with contextlib.suppress(OSError):
            folder.rmdir()
    proxy = ALL["kubernetes"].bin / "kube-proxy"
    if proxy.exists():
        _quiet(str(proxy), "--cleanup")
    _remove_chains_of_kubelet()
    _quiet("ip", "link", "delete", BRIDGE)


def _remove_chains_of_kubelet() -> None:
    """kubelet has no command that takes its iptables chains back."""
    for program in ("iptables", "ip6tables"):
        for table, chain in _KUBELET_CHAINS:
            words = [program, "-w", "-t", table]
            for caller in ("INPUT", "OUTPUT"):
                _quiet(*words, "-D", caller, "-j", chain)
            _quiet(*words, "-F", chain)
            _quiet(*words, "-X", chain)


_KUBELET_CHAINS = [
    ("filter", "KUBE-FIREWALL"),
    ("filter", "KUBE-KUBELET-CANARY"),
    ("mangle", "KUBE-IPTABLES-HINT"),
    ("mangle", "KUBE-KUBELET-CANARY"),
    ("nat", "KUBE-KUBELET-CANARY"),
    # and what kube-proxy's own --cleanup leaves
    ("filter", "KUBE-PROXY-CANARY"),
    ("mangle", "KUBE-PROXY-CANARY"),
    ("nat", "KUBE-PROXY-CANARY"),
    ("nat", "KUBE-MARK-MASQ"),
]


def _shims(places: Places) -> list[int]:
    """The containerd shims of this cluster and no other: they name our socket on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and os.fsencode(places.socket) in words:
                found.append(int(path.parent.name))
    return found


def _pod_cgroups() -> list[Path]:
    """kubelet's cgroups, the deepest first."""
    roots = [root / "kubepods" for root in (*Path("/sys/fs/cgroup").iterdir(), Path("/sys/fs/cgroup"))]
    folders = [
        folder for root in roots if root.is_dir() for folder in (root, *(f for f in root.rglob("*") if f.is_dir()))
    ]
    return sorted(folders, key=lambda folder: -len(folder.parts))


def _in_pod_cgroups() -> list[int]:
    """Processes still inside a pod; only this cluster has pods here, as the fixed addresses allow no second."""
    found = []
    for folder in _pod_cgroups():
        with contextlib.suppress(OSError):
            found += [int(word) for word in (folder / "cgroup.procs").read_text().split()]
    return found


def _mounts_below(folder: Path) -> list[str]:
    """Mount points under a folder, in the order they were made."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def _quiet(*words: str) -> None:
    """Run a clean-up command; that there is nothing to clean is no failure."""
    subprocess.run(words, check=False, capture_output=True, timeout=60)
