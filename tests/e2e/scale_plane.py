"""The control plane of the scale test: on loopback, beside any other cluster of this machine, with no real node."""

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
from .deployment import install
from .kubectl import Kubectl, wait_until
from .places import Addresses, Places
from .processes import Processes
from .scale_api import Api
from .toolchain import ALL, build, cache_root

TOOLS = ("kubernetes", "argo", "helm", "kwok")
ADDRESSES = Addresses(host="127.0.0.1", api=16443, etcd=13379, scheduler=11259, controller_manager=11257)
METRICS = 19090
"""Port of the workflow controller's metrics."""

CONTROLLER = "workflow-controller"


@dataclass(frozen=True, slots=True)
class Settings:
    """Of Argo's controller: command line, environment, ConfigMap."""

    words: tuple[str, ...] = ("--qps=50", "--burst=75", "--workflow-workers=32", "--pod-cleanup-workers=16")
    environment: tuple[tuple[str, str], ...] = ()
    config: tuple[tuple[str, str], ...] = (
        ("parallelism", "20"),
        ("nodeEvents", "enabled: false\n"),
        ("podGCDeleteDelayDuration", "30s"),
    )


RECOMMENDED = Settings()
"""What docs/operations/operate-a-cluster.md says."""

DEFAULTS = Settings(words=(), config=())
"""What Argo does when nobody says anything."""


@dataclass(frozen=True, slots=True)
class Plane:
    """A running control plane."""

    places: Places
    processes: Processes
    kubectl: Kubectl
    api: Api
    settings: Settings

    def start_controller(self) -> None:
        """Start Argo's controller, as an administrator."""
        words = ["--kubeconfig", str(self.places.kubeconfig), "--namespaced", "--namespace", services.NAMESPACE]
        words += ["--managed-namespace", services.NAMESPACE, "--loglevel", "warn"]
        environment = {
            "LEADER_ELECTION_DISABLE": "true",
            "LEADER_ELECTION_IDENTITY": "scale",  # it ends at once without a name, even alone
            "KUBECONFIG": str(self.places.kubeconfig),
            **dict(self.settings.environment),
        }
        binary = ALL["argo"].bin / "workflow-controller"
        self.processes.start(
            CONTROLLER, [binary, "--executor-image", "argoexec", *words, *self.settings.words], environment
        )

    def kill_controller(self) -> None:
        """As a lost node would: no farewell."""
        pid, _ = json.loads((self.places.work / "processes.json").read_text())[CONTROLLER]
        os.kill(pid, signal.SIGKILL)
        self.processes.stop(CONTROLLER)


@contextlib.contextmanager
def running(settings: Settings, nodes: int, pods_at_once: int) -> Iterator[Plane]:
    """A control plane with simulated nodes and the chart installed, for the time of a block; the logs are kept.

    Raises:
        SystemExit: a program is missing.
        NotReadyError: a part did not come up.
    """
    missing = [name for name in ("etcd", "openssl") if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}; run scripts/install-cluster-tools.sh")
    build(*TOOLS)
    cache_root().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="scale-", dir=cache_root()) as folder:
        places = Places(Path(folder), ADDRESSES)
        processes = Processes(places.work)
        try:
            yield _start(places, processes, settings, nodes, pods_at_once)
        finally:
            processes.stop_all()
            kept = cache_root() / "scale-logs"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(places.work / "logs", kept)


def _start(places: Places, processes: Processes, settings: Settings, nodes: int, pods_at_once: int) -> Plane:
    control_plane.start(places, processes)
    kubectl = Kubectl(places.kubeconfig, services.NAMESPACE)
    plane = Plane(places, processes, kubectl, Api(places), settings)
    stages = simulated.write(places.work / "stages.yaml")
    kwok: list[str | Path] = [
        "--kubeconfig",
        places.kubeconfig,
        "--manage-all-nodes",
        "--config",
        stages,
        "--node-ip",
        "127.0.0.1",
    ]
    processes.start("kwok", [ALL["kwok"].bin / "kwok", *kwok])
    kubectl.apply(*simulated.nodes(nodes))
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": services.NAMESPACE}})
    config = {**dict(settings.config), "metricsConfig": f"enabled: true\nport: {METRICS}\nsecure: false\n"}
    services.install_argo(kubectl, config)
    _install_chart(plane, pods_at_once)
    plane.start_controller()
    return plane


def _install_chart(plane: Plane, pods_at_once: int) -> None:
    """The chart without Triton: no container runs that would ask it. Semaphores that let in what the templates do."""
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
    install(plane.kubectl, plane.places.work, values)
