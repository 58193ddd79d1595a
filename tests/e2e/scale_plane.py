"""Control plane of the scale test: on loopback, without a real node, beside any other cluster of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from . import control_plane, services
from . import scale_simulated as simulated
from .cluster_layout import Addresses, ClusterLayout
from .deployment import install_chart
from .kubectl import Kubectl, wait_until
from .processes import Processes
from .scale_api import ApiClient
from .toolchain import TOOLS_BY_NAME, build_tools, get_cache_root

TOOLS = ("kubernetes", "argo", "helm", "kwok")
ADDRESSES = Addresses(host="127.0.0.1", api=16443, etcd=13379, scheduler=11259, controller_manager=11257)
METRICS_PORT = 19090
"""Port of the workflow controller's metrics."""

CONTROLLER = "workflow-controller"


@dataclass(frozen=True, slots=True)
class ArgoSettings:
    """Settings of Argo's controller: command line, environment, ConfigMap."""

    words: tuple[str, ...] = ("--qps=50", "--burst=75", "--workflow-workers=32", "--pod-cleanup-workers=16")
    environment: tuple[tuple[str, str], ...] = ()
    config: tuple[tuple[str, str], ...] = (
        ("parallelism", "20"),
        ("nodeEvents", "enabled: false\n"),
        ("podGCDeleteDelayDuration", "30s"),
    )


RECOMMENDED_SETTINGS = ArgoSettings()
"""Settings that docs/operations/operate-a-cluster.md recommends."""

DEFAULT_SETTINGS = ArgoSettings(words=(), config=())
"""Argo's own defaults."""


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Running control plane of the scale test."""

    layout: ClusterLayout
    processes: Processes
    kubectl: Kubectl
    api: ApiClient
    settings: ArgoSettings

    def start_controller(self) -> None:
        """Start Argo's controller, as an administrator."""
        words = ["--kubeconfig", str(self.layout.kubeconfig), "--namespaced", "--namespace", services.NAMESPACE]
        words += ["--managed-namespace", services.NAMESPACE, "--loglevel", "warn"]
        environment = {
            "LEADER_ELECTION_DISABLE": "true",
            "LEADER_ELECTION_IDENTITY": "scale",  # without a name it exits at once, even without leader election
            "KUBECONFIG": str(self.layout.kubeconfig),
            **dict(self.settings.environment),
        }
        binary = TOOLS_BY_NAME["argo"].bin / "workflow-controller"
        self.processes.start(
            CONTROLLER, [binary, "--executor-image", "argoexec", *words, *self.settings.words], environment
        )

    def kill_controller(self) -> None:
        """Kill Argo's controller without a clean shutdown, as the loss of its node would."""
        pid, _ = json.loads((self.layout.work / "processes.json").read_text())[CONTROLLER]
        os.kill(pid, signal.SIGKILL)
        self.processes.stop(CONTROLLER)


@contextlib.contextmanager
def run_control_plane(settings: ArgoSettings, nodes: int, pods_at_once: int) -> Iterator[ControlPlane]:
    """Run a control plane with simulated nodes and the chart for the time of a block; keep the logs.

    Raises:
        SystemExit: If a program is missing.
        NotReadyError: If a part did not start.
    """
    missing = [name for name in ("etcd", "openssl") if shutil.which(name) is None]
    if missing:
        raise SystemExit(
            f"Cannot start etcd: {', '.join(missing)} not installed; run scripts/install-cluster-tools.sh."
        )
    build_tools(*TOOLS)
    get_cache_root().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="scale-", dir=get_cache_root()) as folder:
        layout = ClusterLayout(Path(folder), ADDRESSES)
        processes = Processes(layout.work)
        try:
            yield _start(layout, processes, settings, nodes, pods_at_once)
        finally:
            processes.stop_all()
            kept = get_cache_root() / "scale-logs"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(layout.work / "logs", kept)


def _start(
    layout: ClusterLayout, processes: Processes, settings: ArgoSettings, nodes: int, pods_at_once: int
) -> ControlPlane:
    control_plane.start(layout, processes)
    kubectl = Kubectl(layout.kubeconfig, services.NAMESPACE)
    plane = ControlPlane(layout, processes, kubectl, ApiClient(layout), settings)
    stages = simulated.write_stages(layout.work / "stages.yaml")
    kwok: list[str | Path] = [
        "--kubeconfig",
        layout.kubeconfig,
        "--manage-all-nodes",
        "--config",
        stages,
        "--node-ip",
        "127.0.0.1",
    ]
    processes.start("kwok", [TOOLS_BY_NAME["kwok"].bin / "kwok", *kwok])
    kubectl.apply(*simulated.build_nodes(nodes))
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": services.NAMESPACE}})
    config = {**dict(settings.config), "metricsConfig": f"enabled: true\nport: {METRICS_PORT}\nsecure: false\n"}
    services.install_argo(kubectl, config)
    _install_chart(plane, pods_at_once)
    plane.start_controller()
    return plane


def _install_chart(plane: ControlPlane, pods_at_once: int) -> None:
    """Install the chart without Triton, which no container would use; semaphores admit `pods_at_once` pods."""
    wait_until(
        "the namespace has its default service account",
        lambda: plane.kubectl.run("get", "serviceaccount", "default", check=False).returncode == 0,
        limit_s=60,
    )
    values = {
        "images": {"steps": {"repository": "s2ops-steps", "tag": "scale"}},
        "triton": {"enabled": False},
        "segmenter": "onnx",
        "semaphores": {"inference": pods_at_once, "catalog": pods_at_once},
    }
    install_chart(plane.kubectl, plane.layout.work, values)
