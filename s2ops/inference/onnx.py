"""The embedded engine: ONNX Runtime in process, no server and no torch.

Each window is a run of its own on one thread; several windows run side by side. So the bytes of a map never depend on
the number of threads, which a run split inside the operators could not promise.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from time import thread_time

import numpy as np
from onnxruntime import (
    InferenceSession,
    OrtAllocatorType,
    OrtArenaCfg,
    OrtMemoryInfo,
    OrtMemType,
    SessionOptions,
    create_and_register_allocator,
)

from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.protocols import Scorer, Segmenter
from s2ops.models.registry import NETWORKS, ModelFile, ModelMeta, find
from s2ops.telemetry import counters


@dataclass(frozen=True)
class OnnxSegmenter:
    """A network that labels pixels (`Segmenter`)."""

    session: InferenceSession
    meta: ModelMeta
    sha256: str
    """Of the weights; part of the fingerprint of what is made with them."""
    threads: int = 1
    """Windows run side by side; each takes some 200 MB while it runs."""

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that the network takes, in its order."""
        return self.meta.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the output's second axis."""
        return self.meta.classes

    @property
    def window(self) -> int:
        """Side of the square windows, in pixels."""
        return self.meta.window

    def predict(self, windows: UInt8) -> UInt8:
        """(n, band, y, x) levels -> (n, class, y, x) probabilities; y and x are multiples of 32."""
        _check_bands(self.meta, windows)
        return _run_each(self.session, windows, self.threads)


@dataclass(frozen=True)
class OnnxScorer:
    """A network that gives one probability per image (`Scorer`)."""

    session: InferenceSession
    meta: ModelMeta
    sha256: str
    threads: int = 1

    def score(self, images: UInt8) -> UInt8:
        """(n, band, y, x) levels -> (n,) probabilities; y and x are at least 8."""
        _check_bands(self.meta, images)
        return _run_each(self.session, images, self.threads)


def _check_bands(meta: ModelMeta, images: UInt8) -> None:
    if images.ndim != 4 or images.shape[1] != len(meta.bands):
        raise ModelError(
            f"{meta.name} takes (n, {len(meta.bands)}, y, x) with bands {', '.join(meta.bands)}, "
            f"but was given an array of shape {images.shape}: pick those bands"
        )


def _run_each(session: InferenceSession, images: UInt8, threads: int) -> UInt8:
    """Run the images one by one, up to `threads` at a time."""

    def run(image: UInt8) -> UInt8:
        start = thread_time()  # the session has no threads of its own
        out: UInt8 = session.run(["probs"], {"image": np.ascontiguousarray(image[None])})[0]
        counters.add("network_cpu_s", thread_time() - start)
        return out

    if threads == 1 or len(images) == 1:
        return np.concatenate([run(image) for image in images])
    with ThreadPoolExecutor(threads) as pool:
        answers = pool.map(run, images)
        first = next(answers)
        out = np.empty((len(images), *first.shape[1:]), np.uint8)  # filled as they come: not all of them twice
        out[0] = first[0]
        for index, answer in enumerate(answers, 1):
            out[index] = answer[0]
        return out


@lru_cache(maxsize=1)
def _share_memory() -> None:
    """One arena for all networks of the process: four of their own held 1.4 GB where one holds 0.6, at equal speed."""
    place = OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)
    create_and_register_allocator(place, OrtArenaCfg({"arena_extend_strategy": 1}))  # 1: no more than is asked for


def _session(file: ModelFile) -> InferenceSession:
    _share_memory()
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    return InferenceSession(str(file.path), options, providers=["CPUExecutionProvider"])


def open_segmenter(name: str, models: str | None = None, threads: int = 1) -> OnnxSegmenter:
    """The network `name` with the weights in `models` (None: the package's). Raises ModelError."""
    if name in NETWORKS and len(NETWORKS[name].classes) == 1:
        raise ModelError(f"{name} gives one probability per image and labels no pixels: open it as a scorer")
    file = find(name, models)
    return OnnxSegmenter(_session(file), file.meta, file.sha256, threads)


def open_scorer(name: str, models: str | None = None, threads: int = 1) -> OnnxScorer:
    """The network `name`, which gives one probability per image. Raises ModelError."""
    if name in NETWORKS and len(NETWORKS[name].classes) != 1:
        raise ModelError(f"{name} labels pixels: open it as a segmenter")
    file = find(name, models)
    return OnnxScorer(_session(file), file.meta, file.sha256, threads)


# mypy proves by these that both fit their protocols
_SEGMENTER: Callable[[str, str | None, int], Segmenter] = open_segmenter
_SCORER: Callable[[str, str | None, int], Scorer] = open_scorer
