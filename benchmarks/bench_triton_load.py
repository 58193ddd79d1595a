"""The serving benchmark through a real Triton: client processes that keep it busy, and what it says of itself."""

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

from benchmarks.make_serving_weights import windows
from s2ops.inference.triton.networks import TritonNetworks
from s2ops.inference.triton.server import Options, serving

_SAMPLE = re.compile(r'^(nv_inference_\w+)\{[^}]*model="([^"]+)"[^}]*\} ([0-9.e+]+)$', re.MULTILINE)


@dataclass
class Served:
    """What a load of some seconds found."""

    pixels_s: float
    """Pixels of whole windows a second; those of a window count once, whatever number of networks answers."""
    batch: float
    """Windows a batch."""
    queue_ms: float
    """Mean wait of a request in the server."""
    compute_ms: float
    """Mean time of a batch in the network's process: copies to and from the GPU and the network."""
    moved_ms: float
    """Mean time of a batch between the server and that process, in and out."""
    gpu_percent: float
    """Mean of what nvidia-smi calls utilisation; NaN where there is none."""
    client_cores: float


def load(
    options: Options, models: Sequence[str], clients: int, in_flight: int, seconds: float, timeout_s: float
) -> Served:
    """Serve, and ask each of `models` for the same windows, from `clients` processes."""
    with serving(options, timeout_s) as server:
        context = multiprocessing.get_context("spawn")
        warm, stop = context.Barrier(clients + 1), context.Event()
        results: multiprocessing.SimpleQueue[tuple[int, float]] = context.SimpleQueue()
        workers = [
            context.Process(
                target=_client, args=(server.url, list(models), in_flight, warm, stop, results), daemon=True
            )
            for _ in range(clients)
        ]
        for worker in workers:
            worker.start()
        warm.wait(timeout_s)
        time.sleep(min(2.0, seconds / 2))  # until all queues are full
        before, start = _metrics(options.metrics_port), time.perf_counter()
        with _Utilisation() as busy:
            time.sleep(seconds)
        after, took = _metrics(options.metrics_port), time.perf_counter() - start
        stop.set()
        cores = sum(results.get()[1] for _ in workers)
        for worker in workers:
            worker.join(30)
        side = TritonNetworks(server.url).segmenter(models[0]).window
    spent = {key: after[key] - before.get(key, 0.0) for key in after}

    def total(name: str) -> float:
        return sum(spent.get((f"nv_inference_{name}", model), 0.0) for model in models)

    # of several models each has had every window; the slowest says how many are done
    count = min(spent.get(("nv_inference_count", model), 0.0) for model in models)
    batches, requests = max(total("exec_count"), 1.0), max(total("request_success"), 1.0)
    moved = total("compute_input_duration_us") + total("compute_output_duration_us")
    return Served(
        pixels_s=count * side**2 / took,
        batch=total("count") / batches,
        queue_ms=total("queue_duration_us") / requests / 1000,
        compute_ms=total("compute_infer_duration_us") / requests / 1000,
        moved_ms=moved / requests / 1000,
        gpu_percent=busy.mean,
        client_cores=cores,
    )


def _client(url: str, models: list[str], in_flight: int, warm, stop: Event, results) -> None:  # type: ignore[no-untyped-def]
    """One process: `in_flight` threads, each of which asks every model for a window, again and again."""
    networks = TritonNetworks(url)
    segmenters = [networks.segmenter(model) for model in models]
    images = [windows(segmenter.bands, 4, segmenter.window) for segmenter in segmenters]
    for segmenter, image in zip(segmenters, images, strict=True):
        segmenter.predict(image[:1])
    warm.wait()

    def work() -> None:
        turn = 0
        while not stop.is_set():
            for segmenter, image in zip(segmenters, images, strict=True):
                segmenter.predict(image[turn % 4 : turn % 4 + 1])
            turn += 1

    start, cpu = time.perf_counter(), time.process_time()
    threads = [Thread(target=work) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put((0, (time.process_time() - cpu) / (time.perf_counter() - start)))


def _metrics(port: int) -> dict[tuple[str, str], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {(name, model): float(value) for name, model, value in _SAMPLE.findall(text)}


class _Utilisation:
    """Asks nvidia-smi twice a second while it is open."""

    def __enter__(self) -> "_Utilisation":
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
        """Percent of the time in which a kernel ran."""
        return sum(self._found) / len(self._found) if self._found else float("nan")

    def _watch(self) -> None:
        program = shutil.which("nvidia-smi")
        words = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while program and not self._over.wait(0.5):
            said = subprocess.run([program, *words], capture_output=True, text=True, check=False).stdout
            self._found += [float(line) for line in said.split()[:1]]
