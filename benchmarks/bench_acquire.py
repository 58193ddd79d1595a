"""Acquire: the tone curve beside a memory copy, and one scene read from an S3 server while it is computed on.

    python benchmarks/bench_acquire.py FOLDER [--res 10] [--mbit 200] [--server VERSITYGW] [--threads 2]

FOLDER is scratch space outside the checkout; a scene of four 16-bit COGs is made there if missing. `--server` is the
binary of an S3 server that shows folders as buckets (the test cluster builds one: docs/operations/test-cluster.md). Without it
a plain HTTP server of this process gives the files. Either stands behind a line of `--mbit` Mbit/s, which notes when
bytes pass: *idle* is the part of the step's tenths of a second in which none did. The step is `make_scene`, as acquire
runs it: read, 16 to 8 bits, classify clouds, write both COGs. The floor is the bytes over the line alone.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
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
TICK = 0.1
"""Seconds that the line counts bytes by."""


def curve() -> str:
    """GB/s of 16-bit numbers in memory, the best of some runs on one thread each."""
    numbers = np.random.default_rng(0).integers(0, 12_000, (4, 512, 10_980), dtype=np.uint16)
    copied, levels = np.empty_like(numbers), np.empty(numbers.shape, np.uint8)

    def best(work: partial[object]) -> float:
        took = []
        for _ in range(9):
            start = time.perf_counter()
            work()
            took.append(time.perf_counter() - start)
        return min(took)

    memory = best(partial(np.copyto, copied, numbers))
    ours = best(partial(convert_bands_to_levels, numbers, 0, levels))
    size = numbers.nbytes / 1e9
    return (
        f"memory copy {size / memory:.1f} GB/s, 16 to 8 bits {size / ours:.1f} GB/s: {ours / memory:.2f} times the copy"
    )


def make_bands(folder: Path, res: int) -> None:
    """Four COGs of digital numbers, as an open bucket holds them."""
    grid, one = parse_tile(make_inputs.TILE).build_geobox(res), parse_tile(make_inputs.TILE)
    if all((folder / f"{band}.tif").exists() for band in BANDS):
        return
    folder.mkdir(parents=True, exist_ok=True)
    top, left = make_inputs.offset(one, res)
    profile = {
        "driver": "GTiff", "dtype": "uint16", "count": 1, "nodata": 0, "tiled": True, "crs": str(grid.crs),
        "height": grid.height, "width": grid.width, "transform": grid.transform,
    }  # fmt: skip
    plain = [folder / f"{band}.plain.tif" for band in BANDS]
    files = [rasterio.open(path, "w", **profile) for path in plain]
    x = np.arange(grid.width, dtype=np.float64) + left
    for rows in split_rows(grid.height):
        y = np.arange(rows.start, rows.stop, dtype=np.float64) + top
        numbers = (invert_tone_curve(make_inputs.ground(y, x, res)) * SCALE).clip(1, 65_535).astype(np.uint16)
        for file, band in zip(files, numbers, strict=True):
            file.write(band, 1, window=Window(0, rows.start, grid.width, len(y)))
    for file, path, name in zip(files, plain, BANDS, strict=True):
        file.close()
        copy(str(path), str(folder / f"{name}.tif"), driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES",
             NUM_THREADS="ALL_CPUS")  # fmt: skip
        path.unlink()


class Ranges(SimpleHTTPRequestHandler):
    """A file server that knows byte ranges, which GDAL needs."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
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
        """Nothing."""


@dataclass
class Line:
    """A TCP line of limited bandwidth to a server of this machine; counts what comes back through it."""

    target: int
    bytes_per_s: float
    passed: Counter[int] = field(default_factory=Counter)
    """Bytes by tick."""
    _free_at: float = 0.0
    _lock: Lock = field(default_factory=Lock)

    def open(self) -> int:
        """Begin to listen; gives the port."""
        door = socket.create_server(("127.0.0.1", 0))
        Thread(target=self._accept, args=(door,), daemon=True).start()
        port: int = door.getsockname()[1]
        return port

    def _accept(self, door: socket.socket) -> None:
        while True:
            near, _ = door.accept()
            far = socket.create_connection(("127.0.0.1", self.target))
            Thread(target=self._carry, args=(near, far, False), daemon=True).start()
            Thread(target=self._carry, args=(far, near, True), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, slowly: bool) -> None:
        try:
            while data := source.recv(65_536):
                if slowly:
                    time.sleep(max(self._turn(len(data)) - time.time(), 0))
                    self.passed[int(time.time() / TICK)] += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:  # either side has hung up
            target.close()

    def _turn(self, size: int) -> float:
        """When so many bytes will be through, behind those of other connections."""
        with self._lock:
            self._free_at = max(self._free_at, time.time()) + size / self.bytes_per_s
            return self._free_at


@contextmanager
def served(folder: Path, server: Path | None) -> Iterator[tuple[int, str, dict[str, str]]]:
    """The folder's buckets on a port of this machine: port, scheme, and environment of a client."""
    if server is None:
        http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(folder)))
        Thread(target=http.serve_forever, daemon=True).start()
        yield http.server_address[1], "http", {}
        http.shutdown()
        return
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [str(server), "--port", f"127.0.0.1:{port}", "--region", "us-east-1", "--quiet", "posix", str(folder)]
    keys = {"AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark-secret", "AWS_REGION": "us-east-1"}
    root = {"ROOT_ACCESS_KEY": keys["AWS_ACCESS_KEY_ID"], "ROOT_SECRET_KEY": keys["AWS_SECRET_ACCESS_KEY"]}
    process = subprocess.Popen(words, env={**os.environ, **root})
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


def step(folder: Path, res: int, threads: int, base: str) -> None:
    """Acquire the scene once; print when the step began and ended, and the CPU time that it took."""
    work = make_inputs.job(folder / f"run-{time.time():.0f}", (make_inputs.TILE,), res, threads)
    scene = Scene(
        id=f"S2A_{make_inputs.TILE}_20230820_0_L2A", tile=make_inputs.TILE, datetime=datetime(2023, 8, 20, tzinfo=UTC),
        platform="sentinel-2a", cloud_cover=0.0, bands=tuple((band, f"{base}/{band}.tif") for band in BANDS),
        preview=None, offset=0, processed="05.09",
    )  # fmt: skip
    work.segmenter("scene-cloud")
    start, cpu = time.time(), time.process_time()
    acquire_scene(work, parse_tile(make_inputs.TILE), scene)
    print(json.dumps([start, time.time(), time.process_time() - cpu]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--res", type=int, default=10)
    parser.add_argument("--mbit", type=float, default=200.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--server", type=Path)
    parser.add_argument("--base", help="where the bands are: run the step in this process (used by itself)")
    given = parser.parse_args()
    if given.base:
        step(given.folder, given.res, given.threads, given.base)
        return
    print(curve())
    make_bands(given.folder / "buckets" / BUCKET / str(given.res), given.res)
    with served(given.folder / "buckets", given.server) as (port, scheme, keys):
        line = Line(port, given.mbit * 1e6 / 8)
        door = f"127.0.0.1:{line.open()}"
        host = BUCKET if scheme == "s3" else f"{door}/{BUCKET}"
        words = [
            sys.executable, __file__, str(given.folder), "--res", str(given.res), "--threads", str(given.threads),
            "--base", f"{scheme}://{host}/{given.res}",
        ]  # fmt: skip
        endpoint = {"AWS_ENDPOINT_URL": f"http://{door}"} if scheme == "s3" else {}
        answer = subprocess.run(words, env={**os.environ, **keys, **endpoint}, stdout=subprocess.PIPE, check=True)
    start, end, cpu = json.loads(answer.stdout)
    ticks = range(int(start / TICK), int(end / TICK) + 1)
    size = sum(line.passed[tick] for tick in ticks)
    idle = sum(line.passed[tick] == 0 for tick in ticks) / len(ticks)
    print("| over | MB | Mbit/s | floor s | step s | CPU s | network idle | bandwidth used |")
    print("|---|---|---|---|---|---|---|---|")
    floor = size / line.bytes_per_s
    print(
        f"| {scheme} | {size / 1e6:.0f} | {given.mbit:.0f} | {floor:.1f} | {end - start:.1f} | {cpu:.1f} "
        f"| {100 * idle:.0f} % | {100 * floor / (end - start):.0f} % |"
    )


if __name__ == "__main__":
    main()
