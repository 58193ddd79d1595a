"""Kubernetes node: containerd with a bridge network, kubelet, kube-proxy, and the removal of their remains.

Unusual settings are for machines where limits cannot be raised and cgroups are version 1, such as a container with two
cores; they do no harm elsewhere. NetworkPolicies are not enforced, because the bridge plugin does not support them.
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

from .cluster_layout import BRIDGE, NODE, PODS, ClusterLayout
from .processes import Processes
from .toolchain import TOOLS_BY_NAME

PAUSE = "localhost/s2ops-pause:1"
NODE_NAME = "s2ops-node"
IP_FORWARD_FILE = Path("/proc/sys/net/ipv4/ip_forward")


def make_bridge() -> None:
    """Create the pods' bridge with the node's address, before any program listens on it."""
    _run_quietly("ip", "link", "delete", BRIDGE)
    for words in (
        ["ip", "link", "add", BRIDGE, "type", "bridge"],
        ["ip", "address", "add", f"{NODE}/16", "dev", BRIDGE],
        ["ip", "link", "set", BRIDGE, "up"],
    ):
        subprocess.run(words, check=True)
    IP_FORWARD_FILE.write_text("1")


def start_containerd(layout: ClusterLayout, processes: Processes) -> None:
    """Start the container runtime and wait until images can be imported."""
    layout.containerd.mkdir(parents=True, exist_ok=True)
    network = layout.work / "cni"
    network.mkdir(exist_ok=True)
    (network / "10-s2ops.conflist").write_text(json.dumps(_build_network_config()))
    config = layout.work / "containerd.toml"
    config.write_text(_CONTAINERD_CONFIG.format(root=layout.containerd, network=network, pause=PAUSE))
    processes.start("containerd", ["containerd", "--config", config])
    processes.wait("containerd", lambda: run_ctr(layout, "version").returncode == 0, limit_s=30)


def run_ctr(layout: ClusterLayout, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of containerd's client in the namespace of Kubernetes."""
    command = ["ctr", "--address", str(layout.socket), "--namespace", "k8s.io", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def start_kubelet(layout: ClusterLayout, processes: Processes) -> None:
    """Start kubelet and kube-proxy; the node is Ready some seconds later."""
    binaries = TOOLS_BY_NAME["kubernetes"].bin
    config, proxy = layout.work / "kubelet.yaml", layout.work / "kube-proxy.yaml"
    config.write_text(yaml.safe_dump(_build_kubelet_config(layout)))
    proxy.write_text(yaml.safe_dump(_build_proxy_config(layout)))
    words = [
        f"--config={config}",
        f"--kubeconfig={layout.kubeconfig}",
        f"--hostname-override={NODE_NAME}",
        f"--node-ip={NODE}",
    ]
    processes.start("kubelet", [binaries / "kubelet", *words, f"--root-dir={layout.work / 'kubelet'}"])
    processes.start("kube-proxy", [binaries / "kube-proxy", f"--config={proxy}"])


_CONTAINERD_CONFIG = """\
version = 2
root = "{root}/root"
state = "{root}/state"
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true          # a negative value needs a right that a container does not have
  netns_mounts_under_state_dir = true    # so that clean-up finds them
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{network}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


def _build_network_config() -> dict[str, object]:
    """Build the network of the pods: one bridge, no masquerading because no traffic leaves the machine."""
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


def _build_kubelet_config(layout: ClusterLayout) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE,
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": f"unix://{layout.socket}",
        "clusterDNS": [NODE],
        "clusterDomain": "cluster.local",
        "failSwapOn": False,
        "resolvConf": "/etc/resolv.conf",
        "imageGCHighThresholdPercent": 100,  # images are imported, not pulled, so none may be deleted
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "maxPods": 110,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
    }


def _build_proxy_config(layout: ClusterLayout) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": NODE,
        "hostnameOverride": NODE_NAME,
        "clientConnection": {"kubeconfig": str(layout.kubeconfig)},
        "clusterCIDR": PODS,
        "mode": "iptables",
        # 0 keeps the kernel's values, which cannot be set from a container.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def clean_up(layout: ClusterLayout) -> None:
    """Remove the remains of the programs: shims and their containers, mounts, cgroups, iptables rules, the bridge."""
    for pid in _find_shims(layout):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for pid in _list_pod_processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(0.3)
    for mount in reversed(_list_mounts_below(layout.work)):
        _run_quietly("umount", "--lazy", mount)
    for folder in _list_pod_cgroups():
        with contextlib.suppress(OSError):
            folder.rmdir()
    proxy = TOOLS_BY_NAME["kubernetes"].bin / "kube-proxy"
    if proxy.exists():
        _run_quietly(str(proxy), "--cleanup")
    _remove_kubelet_chains()
    _run_quietly("ip", "link", "delete", BRIDGE)


def _remove_kubelet_chains() -> None:
    """Remove kubelet's iptables chains, for which kubelet itself has no command."""
    for program in ("iptables", "ip6tables"):
        for table, chain in _KUBELET_CHAINS:
            words = [program, "-w", "-t", table]
            for caller in ("INPUT", "OUTPUT"):
                _run_quietly(*words, "-D", caller, "-j", chain)
            _run_quietly(*words, "-F", chain)
            _run_quietly(*words, "-X", chain)


_KUBELET_CHAINS = [
    ("filter", "KUBE-FIREWALL"),
    ("filter", "KUBE-KUBELET-CANARY"),
    ("mangle", "KUBE-IPTABLES-HINT"),
    ("mangle", "KUBE-KUBELET-CANARY"),
    ("nat", "KUBE-KUBELET-CANARY"),
    # chains that kube-proxy's own --cleanup leaves
    ("filter", "KUBE-PROXY-CANARY"),
    ("mangle", "KUBE-PROXY-CANARY"),
    ("nat", "KUBE-PROXY-CANARY"),
    ("nat", "KUBE-MARK-MASQ"),
]


def _find_shims(layout: ClusterLayout) -> list[int]:
    """Find the containerd shims of this cluster only, by the socket on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and os.fsencode(layout.socket) in words:
                found.append(int(path.parent.name))
    return found


def _list_pod_cgroups() -> list[Path]:
    """List kubelet's cgroups, the deepest first."""
    roots = [root / "kubepods" for root in (*Path("/sys/fs/cgroup").iterdir(), Path("/sys/fs/cgroup"))]
    folders = [
        folder for root in roots if root.is_dir() for folder in (root, *(f for f in root.rglob("*") if f.is_dir()))
    ]
    return sorted(folders, key=lambda folder: -len(folder.parts))


def _list_pod_processes() -> list[int]:
    """List processes that still run in a pod; the fixed addresses allow no second cluster with pods here."""
    found = []
    for folder in _list_pod_cgroups():
        with contextlib.suppress(OSError):
            found += [int(word) for word in (folder / "cgroup.procs").read_text().split()]
    return found


def _list_mounts_below(folder: Path) -> list[str]:
    """List the mount points below a folder, oldest first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def _run_quietly(*words: str) -> None:
    """Run a clean-up command and ignore its failure: there may be nothing to clean up."""
    subprocess.run(words, check=False, capture_output=True, timeout=60)
