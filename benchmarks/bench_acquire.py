"""Acquire step: tone curve beside a memory copy, and one scene read from an S3 server during computation.

    python benchmarks/bench_acquire.py FOLDER [--res 10] [--mbit 200] [--server VERSITYGW] [--threads 2]

FOLDER is scratch space outside the checkout; a scene of four 16-bit COGs is made there if missing. `--server` is the
binary of an S3 server that serves folders as buckets (the test cluster builds one, see
docs/operations/test-cluster.md). Without it a plain HTTP server in this process serves the files. A proxy limits
either server to `--mbit` Mbit/s and records when bytes pass. *Idle* is the fraction of the step's tenths of a second
in which no byte passed. The measured function is `acquire_scene`, as the acquire step calls it: read, convert 16 to
8 bits, classify clouds, write both COGs. The floor is the transfer time of the bytes alone.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread

import make_inputs
import numpy as np
import rasterio
from rasterio.shutil import copy
from rasterio.windows import Window

from s2ops.catalog.scene import Scene
from s2ops.constants import BANDS
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.imaging.tone_curve import SCALE, convert_bands_to_levels, invert_tone_curve
from s2ops.pipeline.steps.acquire_scene import acquire_scene
from s2ops.raster.reader import split_rows

BUCKET = "scenes"
TICK_S = 0.1
"""Interval in seconds by which the proxy counts bytes."""


def measure_tone_curve() -> str:
    """Measure GB/s of 16-bit numbers in memory: memory copy and tone curve, one thread, best of 9 runs each."""
    numbers = np.random.default_rng(0).integers(0, 12_000, (4, 512, 10_980), dtype=np.uint16)
    copied, levels = np.empty_like(numbers), np.empty(numbers.shape, np.uint8)

    def measure_best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(9):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return min(times)

    memory = measure_best(partial(np.copyto, copied, numbers))
    ours = measure_best(partial(convert_bands_to_levels, numbers, 0, levels))
    size = numbers.nbytes / 1e9
    return (
        f"memory copy {size / memory:.1f} GB/s, 16 to 8 bits {size / ours:.1f} GB/s: {ours / memory:.2f} times the copy"
    )


def make_bands(folder: Path, res: int) -> None:
    """Write four COGs of digital numbers, as in an open bucket, unless they exist."""
    tile = parse_tile(make_inputs.TILE)
    grid = tile.build_geobox(res)
    if all((folder / f"{band}.tif").exists() for band in BANDS):
        return
    folder.mkdir(parents=True, exist_ok=True)
    top, left = make_inputs.compute_offset(tile, res)
    profile = {
        "driver": "GTiff", "dtype": "uint16", "count": 1, "nodata": 0, "tiled": True, "crs": str(grid.crs),
        "height": grid.height, "width": grid.width, "transform": grid.transform,
    }  # fmt: skip
    plain = [folder / f"{band}.plain.tif" for band in BANDS]
    files = [rasterio.open(path, "w", **profile) for path in plain]
    x = np.arange(grid.width, dtype=np.float64) + left
    for rows in split_rows(grid.height):
        y = np.arange(rows.start, rows.stop, dtype=np.float64) + top
        numbers = (invert_tone_curve(make_inputs.sample_ground(y, x, res)) * SCALE).clip(1, 65_535).astype(np.uint16)
        for file, band in zip(files, numbers, strict=True):
            file.write(band, 1, window=Window(0, rows.start, grid.width, len(y)))
    for file, path, name in zip(files, plain, BANDS, strict=True):
        file.close()
        copy(str(path), str(folder / f"{name}.tif"), driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES",
             NUM_THREADS="ALL_CPUS")  # fmt: skip
        path.unlink()


class RangeRequestHandler(SimpleHTTPRequestHandler):
    """File server that supports byte ranges, which GDAL needs."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send a file or a range of its bytes."""
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        size = path.stat().st_size
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or size - 1), size - 1) + 1
        self.send_response(HTTPStatus.PARTIAL_CONTENT if "Range" in self.headers else HTTPStatus.OK)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{size}")
        self.send_header("Content-Length", str(stop - start))
        self.end_headers()
        with path.open("rb") as file:
            file.seek(start)
            self.wfile.write(file.read(stop - start))

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@dataclass
class ThrottledProxy:
    """TCP proxy of limited bandwidth to a server on this machine; counts the bytes of the responses."""

    target: int
    """Port of the server."""
    bytes_per_s: float
    passed: Counter[int] = field(default_factory=Counter)
    """Bytes by tick (number of intervals since 1970)."""
    _free_at: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def open(self) -> int:
        """Start to listen; return the port."""
        listener = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._accept, args=(listener,), daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    def _accept(self, listener: socket.socket) -> None:
        while True:
            near, _ = listener.accept()
            far = socket.create_connection(("127.0.0.1", self.target))
            Thread(target=self._forward, args=(near, far, False), daemon=True).start()
            Thread(target=self._forward, args=(far, near, True), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, is_throttled: bool) -> None:
        try:
            while data := source.recv(65_536):
                if is_throttled:
                    time.sleep(max(self._reserve_bandwidth(len(data)) - time.time(), 0))
                    self.passed[int(time.time() / TICK_S)] += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # either side has closed its connection
            target.close()

    def _reserve_bandwidth(self, size: int) -> float:
        """Return the time at which `size` bytes will have passed, after those of other connections."""
        with self._lock:
            self._free_at = max(self._free_at, time.time()) + size / self.bytes_per_s
            return self._free_at


@contextmanager
def serve_buckets(folder: Path, server: Path | None) -> Iterator[tuple[int, str, dict[str, str]]]:
    """Serve the folder's buckets on a port of this machine; yield port, URL scheme, and environment of a client."""
    if server is None:
        http = ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeRequestHandler, directory=str(folder)))
        Thread(target=http.serve_forever, daemon=True).start()
        yield http.server_address[1], "http", {}
        http.shutdown()
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(server), "--port", f"127.0.0.1:{port}", "--region", "us-east-1", "--quiet", "posix", str(folder)]
    keys = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark-secret", "AWS_REGION": "us-east-1"}
    root = {"ROOT_ACCESS_KEY": keys["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": keys["AWS_SECRET_ACCESS_KEY"]}
    process = subprocess.Popen(command, env={**os.environ, **root})
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        yield port, "s3", keys
    finally:
        process.terminate()
        process.wait()


def run_acquire_step(folder: Path, res: int, threads: int, base: str) -> None:
    """Acquire the scene once; print start and end (seconds since 1970) and CPU time as JSON."""
    ctx = make_inputs.create_context(folder / f"run-{time.time():.0f}", (make_inputs.TILE,), res, threads)
    scene = Scene(
        id=f"S2A_{make_inputs.TILE}_20230820_0_L2A", tile=make_inputs.TILE, datetime=datetime(2023, 8, 20, tzinfo=UTC),
        platform="sentinel-2a", cloud_cover=0.0, bands=tuple((band, f"{base}/{band}.tif") for band in BANDS),
        preview=None, offset=0, processed="05.09",
    )  # fmt: skip
    ctx.open_segmenter("scene-cloud")
    start, cpu = time.time(), time.process_time()
    acquire_scene(ctx, ctx.tiles[0], scene)
    print(json.dumps([start, time.time(), time.process_time() - cpu]))


def main() -> None:
    """Measure tone curve and acquire step; print a line and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--res", type=int, default=10)
    parser.add_argument("--mbit", type=float, default=200.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--server", type=Path)
    parser.add_argument("--base", help="URL of the bands: run the step in this process (used internally)")
    given = parser.parse_args()
    if given.base:
        run_acquire_step(given.folder, given.res, given.threads, given.base)
        return
    print(measure_tone_curve())
    make_bands(given.folder / "buckets" / BUCKET / str(given.res), given.res)
    with serve_buckets(given.folder / "buckets", given.server) as (port, scheme, keys):
        proxy = ThrottledProxy(port, given.mbit * 1e6 / 8)
        address = f"127.0.0.1:{proxy.open()}"
        host = BUCKET if scheme == "s3" else f"{address}/{BUCKET}"
        command = [
            sys.executable, __file__, str(given.folder), "--res", str(given.res), "--threads", str(given.threads),
            "--base", f"{scheme}://{host}/{given.res}",
        ]  # fmt: skip
        endpoint = {"AWS_ENDPOINT_URL": f"http://{address}"} if scheme == "s3" else {}
        answer = subprocess.run(command, env={**os.environ, **keys, **endpoint}, stdout=subprocess.PIPE, check=True)
    start, end, cpu = json.loads(answer.stdout)
    ticks = range(int(start / TICK_S), int(end / TICK_S) + 1)
    size = sum(proxy.passed[tick] for tick in ticks)
    idle = sum(proxy.passed[tick] == 0 for tick in ticks) / len(ticks)
    print("| over | MB | Mbit/s | floor s | step s | CPU s | network idle | bandwidth used |")
    print("|---|---|---|---|---|---|---|---|")
    floor = size / proxy.bytes_per_s
    print(
        f"| {scheme} | {size / 1e6:.0f} | {given.mbit:.0f} | {floor:.1f} | {end - start:.1f} | {cpu:.1f} "
        f"| {100 * idle:.0f} % | {100 * floor / (end - start):.0f} % |"
    )


if __name__ == "__main__":
    main()
