"""Helpers of the serving tests: Triton servers on free ports, and networks so small that a window costs little."""

import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from s2ops.constants import UInt8
from s2ops.errors import ConfigError
from s2ops.inference.triton.server import (
    ServerOptions,
    TritonProgram,
    TritonServer,
    find_program,
    prepare_server_folder,
)
from s2ops.models.registry import NETWORKS, ModelMeta, list_head_sizes


def find_program_or_skip() -> TritonProgram:
    """Find the server program; skip the test if it cannot be installed, except in CI."""
    try:
        return find_program()
    except ConfigError as error:
        if os.environ.get("S2OPS_REQUIRE_SERVICES"):
            raise
        pytest.skip(str(error))


def find_free_ports(count: int) -> list[int]:
    """Find TCP ports that are free at the moment."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def write_tiny_weights(folder: Path, name: str = "preview-cloud", width: int = 2, seed: int = 0) -> Path:
    """Write untrained weights of one network; return the folder."""
    torch = pytest.importorskip("torch")
    from s2ops.models.onnx_export import export_to_onnx  # noqa: PLC0415 -- needs torch
    from s2ops.models.unet import UNet  # noqa: PLC0415

    network, heads = NETWORKS[name], list_head_sizes(name)
    torch.manual_seed(seed)
    meta = ModelMeta(
        name=name, version="0", bands=network.bands, classes=network.classes, window=network.window, width=width,
        levels="tci", temperature=1.0 if len(heads) == 1 else (1.0,) * len(heads),
        trained_on=("nothing",), scores={}, licence="Apache-2.0",
    )  # fmt: skip
    model = UNet(len(network.bands), len(network.classes), width, heads=heads)
    export_to_onnx(model, meta, folder / f"{name}.onnx")
    return folder


class ServerHost:
    """Prepared folder and fixed ports for consecutive servers."""

    def __init__(self, folder: Path, options: ServerOptions) -> None:
        self.folder, self.program = folder, find_program_or_skip()
        grpc, http, metrics = find_free_ports(3)
        self.options = replace(options, port=grpc, http_port=http, metrics_port=metrics)
        self.url = f"triton://127.0.0.1:{grpc}"
        self.weights = prepare_server_folder(folder, self.program, self.options)

    def start(self, *, wait: bool = True) -> TritonServer:
        """Start a server and, by default, wait until it is ready."""
        server = TritonServer(self.folder, self.program, self.options, self.weights)
        if wait:
            server.wait(120)
        return server

    def read_metric(self, name: str, *labels: str) -> float:
        """Read the sum of a metric over all lines that contain the labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.options.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith(name) and all(label in line for label in labels)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@contextmanager
def open_server_host(options: ServerOptions) -> Iterator[ServerHost]:
    """Prepare a host and remove its files at the end; the caller starts and ends the servers."""
    with tempfile.TemporaryDirectory(prefix="s2ops-triton-") as folder:
        try:
            yield ServerHost(Path(folder), options)
        finally:
            for region in Path("/dev/shm").glob(f"{Path(folder).name}*"):
                region.unlink(missing_ok=True)


@contextmanager
def run_ready_server(options: ServerOptions) -> Iterator[ServerHost]:
    """Run a server that is ready; yield its host."""
    with open_server_host(options) as host:
        server = host.start()
        try:
            yield host
        finally:
            server.kill()


@contextmanager
def start_loading_server(host: ServerHost) -> Iterator[None]:
    """Start a server that is still loading its networks, so clients must retry."""
    server = host.start(wait=False)
    try:
        yield
    finally:
        server.stop()


def list_child_processes(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the ids of the backend's processes."""
    return [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def read_private_memory_mib(pid: int) -> float:
    """Read the resident memory of a process without pages that it shares with others."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return (int(fields["RssAnon"].split()[0])) / 1024


def wait_until(condition: Callable[[], bool], timeout_s: float = 300) -> None:
    """Wait until a condition is true."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{condition} was not true within {timeout_s} s"
        time.sleep(0.05)


def build_ground_windows(count: int, bands: int, side: int) -> UInt8:
    """Build different windows with ground and a cloud: uint8 levels (count, band, y, x)."""
    y, x = np.mgrid[:side, :side]
    base = 70 + 40 * np.sin(x / 17) * np.cos(y / 23)
    cloud = 130 * np.exp(-((x - side * 0.3) ** 2 + (y - side * 0.6) ** 2) / (side * 4))
    one = np.stack([base + cloud + 8 * band for band in range(bands)])
    windows = np.stack([np.roll(one, 29 * number, axis=2) + number % 50 for number in range(count)])
    return np.clip(windows, 1, 255).astype(np.uint8)
