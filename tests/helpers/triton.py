"""What the tests of serving share: servers on free ports, and networks so small that a window costs next to nothing."""

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
from s2ops.inference.triton.server import Options, Program, Server, find_program, prepare
from s2ops.models.registry import NETWORKS, ModelMeta, head_sizes


def program() -> Program:
    """The server; the test is skipped where the wheel cannot be had, but never in CI."""
    try:
        return find_program()
    except ConfigError as error:
        if os.environ.get("S2OPS_REQUIRE_SERVICES"):
            raise
        pytest.skip(str(error))


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def tiny_weights(folder: Path, name: str = "preview-cloud", width: int = 2, seed: int = 0) -> Path:
    """Untrained weights of one network; gives the folder."""
    torch = pytest.importorskip("torch")
    from s2ops.models.onnx_export import export  # noqa: PLC0415 -- needs torch
    from s2ops.models.unet import UNet  # noqa: PLC0415

    network = NETWORKS[name]
    torch.manual_seed(seed)
    meta = ModelMeta(
        name=name, version="0", bands=network.bands, classes=network.classes, window=network.window, width=width,
        levels="tci", temperature=1.0, trained_on=("nothing",), scores={}, licence="Apache-2.0",
    )  # fmt: skip
    export(UNet(len(network.bands), len(network.classes), width, heads=head_sizes(name)), meta, folder / f"{name}.onnx")
    return folder


class Machine:
    """A place for one server after the other, always on the same ports."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder, self.program = folder, program()
        grpc, http, metrics = free_ports(3)
        self.options = replace(options, port=grpc, http_port=http, metrics_port=metrics)
        self.url = f"triton://127.0.0.1:{grpc}"
        self._weights = prepare(folder, self.program, self.options)

    def start(self, *, wait: bool = True) -> Server:
        """A server, by default ready."""
        server = Server(self.folder, self.program, self.options, self._weights)
        if wait:
            server.wait(120)
        return server

    def metric(self, name: str, *labels: str) -> float:
        """Sum of a metric's values over all lines that hold the labels."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.options.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.startswith(name) and all(label in line for label in labels)]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)


@contextmanager
def machine(options: Options) -> Iterator[Machine]:
    """A prepared place; its files go at the end. Servers are the caller's to end."""
    with tempfile.TemporaryDirectory(prefix="s2ops-triton-") as folder:
        try:
            yield Machine(Path(folder), options)
        finally:
            for left in Path("/dev/shm").glob(f"{Path(folder).name}*"):
                left.unlink(missing_ok=True)


@contextmanager
def running(options: Options) -> Iterator[Machine]:
    """A place with a server that is ready."""
    with machine(options) as place:
        server = place.start()
        try:
            yield place
        finally:
            server.kill()


@contextmanager
def starting(place: Machine) -> Iterator[None]:
    """A server that is loading its networks: who asks it now has to ask again."""
    server = place.start(wait=False)
    try:
        yield
    finally:
        server.stop()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """Ids of the backend's processes."""
    return [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def rss_mib(pid: int) -> float:
    """Resident memory of a process that is its own: pages shared with others left out."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return (int(fields["RssAnon"].split()[0])) / 1024


def until(condition: Callable[[], bool], timeout_s: float = 300) -> None:
    """Wait for a callable to be true."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"{condition} did not come true in {timeout_s} s"
        time.sleep(0.05)


def ground(count: int, bands: int, side: int) -> UInt8:
    """Different windows with something to see: (count, band, y, x)."""
    y, x = np.mgrid[:side, :side]
    base = 70 + 40 * np.sin(x / 17) * np.cos(y / 23)
    cloud = 130 * np.exp(-((x - side * 0.3) ** 2 + (y - side * 0.6) ** 2) / (side * 4))
    one = np.stack([base + cloud + 8 * band for band in range(bands)])
    windows = np.stack([np.roll(one, 29 * number, axis=2) + number % 50 for number in range(count)])
    return np.clip(windows, 1, 255).astype(np.uint8)
