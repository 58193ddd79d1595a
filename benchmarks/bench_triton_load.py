"""Serving benchmark through a real Triton: client processes that keep it busy, and the server's own metrics."""

import multiprocessing
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from threading import Event as Flag
from threading import Thread

from benchmarks.make_serving_weights import cut_windows
from s2ops.inference.triton.networks import TritonNetworks
from s2ops.inference.triton.server import ServerOptions, run_server

_SAMPLE = re.compile(r'^(nv_inference_\w+)\{[^}]*model="([^"]+)"[^}]*\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass
class LoadResult:
    """Result of a load of some seconds."""

    pixels_s: float
    """Pixels of whole windows per second; a window counts once, whatever the number of networks that compute it."""
    batch: float
    """Mean number of windows per batch."""
    queue_ms: float
    """Mean waiting time of a request in the server's queue."""
    compute_ms: float
    """Mean time of a batch in the network's process: network, and copies to and from the GPU."""
    moved_ms: float
    """Mean time of a batch's transfer between the server and that process, in and out."""
    gpu_percent: float
    """Mean GPU utilization according to nvidia-smi; NaN without it."""
    client_cores: float


def measure_load(
    options: ServerOptions, models: Sequence[str], clients: int, in_flight: int, seconds: float, timeout_s: float
) -> LoadResult:
    """Run a server, send the same windows to each model from several processes, and measure the throughput.

    Args:
        options: Options of the server.
        models: Names of the models.
        clients: Number of client processes.
        in_flight: Number of concurrent requests per client.
        seconds: Length of the measurement.
        timeout_s: Maximum time for the server and the clients to become ready.
    """
    with run_server(options, timeout_s) as server:
        context = multiprocessing.get_context("spawn")
        warm, stop = context.Barrier(clients + 1), context.Event()
        results: multiprocessing.SimpleQueue[tuple[int, float]] = context.SimpleQueue()
        workers = [
            context.Process(
                target=_run_client, args=(server.url, list(models), in_flight, warm, stop, results), daemon=True
            )
            for _ in range(clients)
        ]
        for worker in workers:
            worker.start()
        warm.wait(timeout_s)
        time.sleep(min(2.0, seconds / 2))  # wait until all queues are full
        before, start = _read_metrics(options.metrics_port), time.perf_counter()
        with _UtilizationMonitor() as utilization:
            time.sleep(seconds)
        after, took = _read_metrics(options.metrics_port), time.perf_counter() - start
        stop.set()
        cores = sum(results.get()[1] for _ in workers)
        for worker in workers:
            worker.join(30)
        side = TritonNetworks(server.url).get_segmenter(models[0]).window
    spent = {key: after[key] - before.get(key, 0.0) for key in after}

    def sum_metric(name: str) -> float:
        return sum(spent.get((f"nv_inference_{name}", model), 0.0) for model in models)

    # every model computes every window, so the slowest one determines how many windows are complete
    count = min(spent.get(("nv_inference_count", model), 0.0) for model in models)
    batches, requests = max(sum_metric("exec_count"), 1.0), max(sum_metric("request_success"), 1.0)
    moved = sum_metric("compute_input_duration_us") + sum_metric("compute_output_duration_us")
    return LoadResult(
        pixels_s=count * side**2 / took,
        batch=sum_metric("count") / batches,
        queue_ms=sum_metric("queue_duration_us") / requests / 1000,
        compute_ms=sum_metric("compute_infer_duration_us") / requests / 1000,
        moved_ms=moved / requests / 1000,
        gpu_percent=utilization.mean,
        client_cores=cores,
    )


def _run_client(url: str, models: list[str], in_flight: int, warm, stop: Event, results) -> None:  # type: ignore[no-untyped-def]
    """Run one client process: `in_flight` threads that send one window after another to every model."""
    networks = TritonNetworks(url)
    segmenters = [networks.get_segmenter(model) for model in models]
    images = [cut_windows(segmenter.bands, 4, segmenter.window) for segmenter in segmenters]
    for segmenter, image in zip(segmenters, images, strict=True):
        segmenter.predict(image[:1])
    warm.wait()

    def send_windows() -> None:
        turn = 0
        while not stop.is_set():
            for segmenter, image in zip(segmenters, images, strict=True):
                segmenter.predict(image[turn % 4 : turn % 4 + 1])
            turn += 1

    start, cpu = time.perf_counter(), time.process_time()
    threads = [Thread(target=send_windows) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((0, (time.process_time() - cpu) / (time.perf_counter() - start)))


def _read_metrics(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {(name, model): float(value) for name, model, value in _SAMPLE.findall(text)}


class _UtilizationMonitor:
    """Monitor that runs nvidia-smi twice per second while it is open."""

    def __enter__(self) -> "_UtilizationMonitor":
        self._found: list[float] = []
        self._over = Flag()
        self._thread = Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def mean(self) -> float:
        """Percentage of the time in which a kernel ran."""
        return sum(self._found) / len(self._found) if self._found else float("nan")

    def _watch(self) -> None:
        program = shutil.which("nvidia-smi")
        words = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while program and not self._over.wait(0.5):
            output = subprocess.run([program, *words], capture_output=True, text=True, check=False).stdout
            self._found += [float(line) for line in output.split()[:1]]
