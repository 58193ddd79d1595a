"""One Kubernetes cluster on this machine, from programs in the cache, and its end: nothing is left running or mounted.

with running() as own:
    own.kubectl.get("nodes")
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
from .kubectl import Kubectl, wait_until
from .places import S3, S3_KEY, S3_SECRET, Places
from .processes import Processes
from .toolchain import TEST_CLUSTER, build, cache_root

DEBIAN = ("etcd", "containerd", "runc", "buildah", "debootstrap", "ip", "iptables", "openssl")


@dataclass(frozen=True, slots=True)
class Own:
    """A running cluster and the handles by which a test may disturb it."""

    kubectl: Kubectl
    places: Places
    processes: Processes


def start(places: Places) -> Kubectl:
    """Build what is missing and start all parts; gives an administrator's kubectl once the node is Ready.

    Raises:
        SystemExit: a program is missing, or another Kubernetes runs on this machine.
        NotReadyError: a part did not come up; what had been started is stopped again.
    """
    missing = [name for name in DEBIAN if shutil.which(name) is None]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}; run scripts/install-cluster-tools.sh")
    build(*TEST_CLUSTER)
    names = images.build_all()
    stop(places)  # what a crashed run left
    _refuse_beside_another()
    places.work.mkdir(parents=True)
    try:
        return _start(places, names)
    except BaseException:
        stop(places, keep_logs=True)
        raise


def _start(places: Places, names: list[str]) -> Kubectl:
    processes = Processes(places.work)
    kubectl = Kubectl(places.kubeconfig, services.NAMESPACE)
    node.make_bridge()
    image_store.start(places, processes, names)
    control_plane.start(places, processes)
    node.start_kubelet(places, processes)
    services.start_dns(places, processes)
    services.start_s3(places, processes)
    _namespace(kubectl)
    services.install_argo(kubectl)
    services.start_argo(places, processes)
    processes.wait("kubelet", lambda: _ready(kubectl), limit_s=60)
    return kubectl


def _namespace(kubectl: Kubectl) -> None:
    """The namespace of s2ops, which lets in only pods of the restricted standard, and the key of the S3 server."""
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


def _ready(kubectl: Kubectl) -> bool:
    """Whether the node says so; before it has registered there is none to ask."""
    try:
        conditions: list[dict[str, Any]] = kubectl.get("nodes", node.NAME)["status"]["conditions"]
    except ApiException:
        return False
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _refuse_beside_another() -> None:
    """A second kubelet on one machine would share cgroups and iptables with this one.

    Raises:
        SystemExit: one runs.
    """
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text().strip() in {"kubelet", "k3s", "k3s-server", "k0s", "microk8s"}:
                raise SystemExit(
                    f"a Kubernetes node runs on this machine already (process {path.parent.name}); "
                    "set S2OPS_KUBECONFIG to test against it, or stop it"
                )


def stop(places: Places, *, keep_logs: bool = False) -> None:
    """End everything that `start` began, in this run or in one that crashed, and remove what it left behind."""
    if not places.work.exists():
        return
    logs = places.work / "logs"
    Processes(places.work).stop_all()
    node.clean_up(places)
    if logs.exists():
        kept = cache_root() / "logs"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(logs, kept)
    if keep_logs:
        print(f"the logs of the cluster are in {cache_root() / 'logs'}", flush=True)
    shutil.rmtree(places.work, ignore_errors=True)


@contextlib.contextmanager
def running() -> Iterator[Own]:
    """A cluster for the time of a block; it is stopped at its end, however that comes about.

    Where `python -m tests.e2e up` has started one, that is taken, and left running.
    """
    places = Places.default()
    if places.kubeconfig.exists() and Processes(places.work).running("apiserver"):
        yield Own(Kubectl(places.kubeconfig, services.NAMESPACE), places, Processes(places.work))
        return
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                "another run of the cluster tests is under way on this machine; wait for its end"
            ) from None
        before = signal.signal(signal.SIGTERM, _end)
        began = time.monotonic()
        try:
            kubectl = start(places)
            print(f"cluster ready after {time.monotonic() - began:.0f} s, object store at {S3}", flush=True)
            yield Own(kubectl, places, Processes(places.work))
        finally:
            stop(places)
            signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a run as Ctrl-C does: through the `finally` above."""
    raise SystemExit(128 + number)
