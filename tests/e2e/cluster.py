"""Kubernetes cluster with one node on this machine: start from cached programs, stop without leaving anything behind.

with run_cluster() as cluster:
    cluster.kubectl.get("nodes")
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from kubernetes.client import ApiException

from . import control_plane, image_store, images, node, services
from .cluster_layout import S3, S3_KEY, S3_SECRET, ClusterLayout
from .kubectl import Kubectl, wait_until
from .processes import Processes
from .toolchain import TEST_CLUSTER, build_tools, get_cache_root

DEBIAN_PROGRAMS = ("etcd", "containerd", "runc", "buildah", "debootstrap", "ip", "iptables", "openssl")


@dataclass(frozen=True, slots=True)
class OwnCluster:
    """Running cluster that the tests started themselves, with the handles by which a test may disturb it."""

    kubectl: Kubectl
    layout: ClusterLayout
    processes: Processes


def start(layout: ClusterLayout) -> Kubectl:
    """Build missing programs and images and start all parts; return an administrator's kubectl once the node is Ready.

    Raises:
        SystemExit: If a program is missing, or another Kubernetes runs on this machine.
        NotReadyError: If a part did not start; all parts that had been started are stopped again.
    """
    missing = [name for name in DEBIAN_PROGRAMS if shutil.which(name) is None]
    if missing:
        raise SystemExit(
            f"Cannot start the cluster: {', '.join(missing)} not installed; run scripts/install-cluster-tools.sh."
        )
    build_tools(*TEST_CLUSTER)
    names = images.build_images()
    stop(layout)  # remains of a crashed run
    _refuse_second_kubernetes()
    layout.work.mkdir(parents=True)
    try:
        return _start(layout, names)
    except BaseException:
        stop(layout, keep_logs=True)
        raise


def _start(layout: ClusterLayout, names: list[str]) -> Kubectl:
    processes = Processes(layout.work)
    kubectl = Kubectl(layout.kubeconfig, services.NAMESPACE)
    node.make_bridge()
    image_store.start(layout, processes, names)
    control_plane.start(layout, processes)
    node.start_kubelet(layout, processes)
    services.start_dns(layout, processes)
    services.start_s3(layout, processes)
    _create_namespace(kubectl)
    services.install_argo(kubectl)
    services.start_argo(layout, processes)
    processes.wait("kubelet", lambda: _is_node_ready(kubectl), limit_s=60)
    return kubectl


def _create_namespace(kubectl: Kubectl) -> None:
    """Create the namespace of s2ops, which admits only pods of the restricted standard, and the S3 server's key."""
    enforce = {
        "pod-security.kubernetes.io/enforce": "restricted",
        "pod-security.kubernetes.io/enforce-version": "latest",
    }
    secret = {"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET}
    kubectl.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": services.NAMESPACE, "labels": enforce}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s2ops-object-store", "namespace": services.NAMESPACE},
            "stringData": secret,
        },
    )
    wait_until(
        "the namespace has its default service account",
        lambda: kubectl.run("get", "serviceaccount", "default", check=False).returncode == 0,
        limit_s=30,
    )


def _is_node_ready(kubectl: Kubectl) -> bool:
    """Return true if the node has the condition Ready; false also if it has not registered yet."""
    try:
        conditions: list[dict[str, Any]] = kubectl.get("nodes", node.NODE_NAME)["status"]["conditions"]
    except ApiException:
        return False
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _refuse_second_kubernetes() -> None:
    """Check that no other Kubernetes runs here: a second kubelet would share cgroups and iptables with this one.

    Raises:
        SystemExit: If one runs.
    """
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() in {"kubelet", "k3s", "k3s-server", "k0s", "microk8s"}:
                raise SystemExit(
                    f"Cannot start the cluster: a Kubernetes node already runs here (process {path.parent.name}); "
                    "set S2OPS_KUBECONFIG to test against it, or stop it."
                )


def stop(layout: ClusterLayout, *, keep_logs: bool = False) -> None:
    """Stop everything that `start` started, in this run or in one that crashed, and remove its remains."""
    if not layout.work.exists():
        return
    logs = layout.work / "logs"
    Processes(layout.work).stop_all()
    node.clean_up(layout)
    if logs.exists():
        kept = get_cache_root() / "logs"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(logs, kept)
    if keep_logs:
        print(f"the logs of the cluster are in {get_cache_root() / 'logs'}", flush=True)
    shutil.rmtree(layout.work, ignore_errors=True)


@contextlib.contextmanager
def run_cluster() -> Iterator[OwnCluster]:
    """Run a cluster for the time of a block; stop it at the end of the block, also after an error or a signal.

    A cluster that `python -m tests.e2e up` has started is used instead, and keeps running.
    """
    layout = ClusterLayout.from_cache()
    if layout.kubeconfig.exists() and Processes(layout.work).is_running("apiserver"):
        yield OwnCluster(Kubectl(layout.kubeconfig, services.NAMESPACE), layout, Processes(layout.work))
        return
    get_cache_root().mkdir(parents=True, exist_ok=True)
    with (get_cache_root() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                "Cannot start the cluster: another run of the cluster tests uses this machine; wait until it ends."
            ) from None
        before = signal.signal(signal.SIGTERM, _exit_on_sigterm)
        began = time.monotonic()
        try:
            kubectl = start(layout)
            print(f"cluster ready after {time.monotonic() - began:.0f} s, object store at {S3}", flush=True)
            yield OwnCluster(kubectl, layout, Processes(layout.work))
        finally:
            stop(layout)
            signal.signal(signal.SIGTERM, before)


def _exit_on_sigterm(number: int, frame: FrameType | None) -> NoReturn:
    """Exit on SIGTERM as on Ctrl-C: through the `finally` above."""
    raise SystemExit(128 + number)
