"""Installation of the chart with Helm, and port forwarding from this machine to its pods."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .kubectl import Kubectl, wait_until
from .toolchain import TOOLS_BY_NAME

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "s2ops"
VALUES = ROOT / "helm" / "values" / "kind.yaml"


def install_chart(kubectl: Kubectl, folder: Path, values: Mapping[str, Any], limit_s: float = 600) -> None:
    """Install or upgrade the release `s2ops` and wait until every part is ready.

    Raises:
        RuntimeError: If Helm failed, or Triton was not ready in time; the message contains the state of the pods.
    """
    given = folder / "values.json"
    given.write_text(json.dumps(values))
    words = ["upgrade", "--install", "s2ops", str(CHART), "--values", str(VALUES), "--values", str(given)]
    done = kubectl.run_helm(*words, "--wait", "--timeout", f"{limit_s:.0f}s", check=False, limit_s=limit_s + 60)
    if done.returncode:
        pods = kubectl.run("describe", "pods", check=False).stdout[-6000:]
        logs = kubectl.run("logs", "deploy/s2ops-triton", "--tail=40", check=False).stdout
        raise RuntimeError(f"helm failed with exit code {done.returncode}: {done.stderr}\n{pods}\n{logs}")


@contextlib.contextmanager
def open_pod_port(kubectl: Kubectl, pod: Mapping[str, Any], port: int) -> Iterator[str]:
    """Yield an address of a port of a pod: the pod's own address if this machine is in the network of the pods."""
    host = pod["status"]["podIP"]
    if _is_port_open(port, host):
        yield f"{host}:{port}"
    else:
        with forward_port(kubectl, f"pod/{pod['metadata']['name']}", port) as address:
            yield address


@contextlib.contextmanager
def forward_port(kubectl: Kubectl, target: str, port: int) -> Iterator[str]:
    """Forward a local address, `127.0.0.1:PORT`, to a port of a pod or service for the time of a block.

    `kubectl port-forward` exits when a single connection is reset; it is then started again.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local = int(probe.getsockname()[1])
    words = [
        TOOLS_BY_NAME["kubernetes"].bin / "kubectl",
        "--kubeconfig",
        kubectl.kubeconfig,
        "--namespace",
        kubectl.namespace,
    ]

    def start() -> subprocess.Popen[bytes]:
        command = [*map(str, words), "port-forward", target, f"{local}:{port}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, **quiet, start_new_session=True)

    def restart_when_ended() -> None:
        nonlocal process
        while not stopped.wait(0.5):
            if process.poll() is not None:
                process = start()

    process, stopped, keeper = start(), threading.Event(), threading.Thread(target=restart_when_ended)
    try:
        wait_until(
            f"port {port} of {target} is forwarded",
            lambda: process.poll() is not None or _is_port_open(local),
            limit_s=60,
        )
        if process.poll() is not None:
            raise ConnectionError(f"Cannot forward port {port}: {target} does not exist, or does not listen on it.")
        keeper.start()
        yield f"127.0.0.1:{local}"
    finally:
        stopped.set()
        if keeper.ident is not None:
            keeper.join()
        process.kill()  # it has no data that could be lost
        process.wait(timeout=30)


def _is_port_open(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def list_triton_pods(kubectl: Kubectl) -> list[dict[str, Any]]:
    """List the pods of Triton that are ready and not being deleted."""
    pods: list[dict[str, Any]] = kubectl.get("pods", selector="app.kubernetes.io/component=triton")
    return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"] and _is_ready(pod)]


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def wait_for_triton(kubectl: Kubectl, limit_s: float = 300) -> None:
    """Wait until Triton is ready for every network."""
    limit = f"--timeout={limit_s:.0f}s"
    kubectl.run("rollout", "status", "deployment/s2ops-triton", limit, limit_s=limit_s + 30)
