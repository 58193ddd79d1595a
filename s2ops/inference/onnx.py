"""ONNX Runtime engine: inference in this process, without a server and without torch.

Each window is a separate single-threaded run, and several windows run in parallel. The output bytes therefore never
depend on the number of threads, which ONNX Runtime does not guarantee when it splits operators across threads.
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
from s2ops.inference.protocols import ImageClassifier, Segmenter
from s2ops.models.registry import NETWORKS, ModelFile, ModelMeta, find_weights
from s2ops.telemetry import counters


@dataclass(frozen=True)
class OnnxSegmenter:
    """Segmentation network that runs by ONNX Runtime (`Segmenter`)."""

    session: InferenceSession
    meta: ModelMeta
    sha256: str
    """SHA-256 of the weights; part of the fingerprint of the outputs."""
    threads: int = 1
    """Number of windows computed in parallel; each needs about 200 MB while it runs."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Input bands, in the network's order."""
        return self.meta.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the output's second axis."""
        return self.meta.classes

    @property
    def window(self) -> int:
        """Side of the square windows in pixels."""
        return self.meta.window

    def predict(self, windows: UInt8) -> UInt8:
        """Predict class probabilities of windows whose sides are multiples of 32 (see `Segmenter.predict`).

        Raises:
            ModelError: If the number of bands is wrong.
        """
        _check_bands(self.meta, windows)
        return _run_each(self.session, windows, self.threads)


@dataclass(frozen=True)
class OnnxImageClassifier:
    """Image classification network that runs by ONNX Runtime (`ImageClassifier`)."""

    session: InferenceSession
    meta: ModelMeta
    sha256: str
    threads: int = 1

    def score(self, images: UInt8) -> UInt8:
        """Compute one probability per image of at least 8 x 8 pixels (see `ImageClassifier.score`).

        Raises:
            ModelError: If the number of bands is wrong.
        """
        _check_bands(self.meta, images)
        return _run_each(self.session, images, self.threads)


def _check_bands(meta: ModelMeta, images: UInt8) -> None:
    if images.ndim != 4 or images.shape[1] != len(meta.bands):
        raise ModelError(
            f"Wrong input for {meta.name}: array of shape {images.shape}; "
            f"pass (n, {len(meta.bands)}, y, x) with the bands {', '.join(meta.bands)}."
        )


def _run_each(session: InferenceSession, images: UInt8, threads: int) -> UInt8:
    """Run each image separately, up to `threads` of them in parallel."""

    def run(image: UInt8) -> UInt8:
        start = thread_time()  # valid because the session has no threads of its own
        out: UInt8 = session.run(["probs"], {"image": np.ascontiguousarray(image[None])})[0]
        counters.add("network_cpu_s", thread_time() - start)
        return out

    if threads == 1 or len(images) == 1:
        return np.concatenate([run(image) for image in images])
    with ThreadPoolExecutor(threads) as pool:
        results = pool.map(run, images)
        first = next(results)
        out = np.empty((len(images), *first.shape[1:]), np.uint8)  # filled one by one: concatenation holds all twice
        out[0] = first[0]
        for index, result in enumerate(results, 1):
            out[index] = result[0]
        return out


@lru_cache(maxsize=1)
def _share_memory_arena() -> None:
    """Register one memory arena for all networks of the process.

    Four separate arenas held 1.4 GB where a shared one holds 0.6 GB, at equal speed.
    """
    place = OrtMemoryInfo("Cpu", OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)
    # strategy 1 (kSameAsRequested): extend the arena by the requested size only, not to the next power of two
    create_and_register_allocator(place, OrtArenaCfg({"arena_extend_strategy": 1}))


def _create_session(file: ModelFile) -> InferenceSession:
    _share_memory_arena()
    options = SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.use_env_allocators", "1")
    return InferenceSession(str(file.path), options, providers=["CPUExecutionProvider"])


def open_segmenter(name: str, models: str | None = None, threads: int = 1) -> OnnxSegmenter:
    """Open a segmentation network.

    Args:
        name: Name of the network.
        models: Folder or URI of the weights, or None for the package's own.
        threads: Number of windows computed in parallel.

    Raises:
        ModelError: If the network is an image classifier, or its weights are missing or not valid.
    """
    if name in NETWORKS and len(NETWORKS[name].classes) == 1:
        raise ModelError(
            f"Cannot open {name} as a segmenter: it computes one probability per image; "
            "open it with `open_image_classifier`."
        )
    file = find_weights(name, models)
    return OnnxSegmenter(_create_session(file), file.meta, file.sha256, threads)


def open_image_classifier(name: str, models: str | None = None, threads: int = 1) -> OnnxImageClassifier:
    """Open an image classification network.

    Args:
        name: Name of the network.
        models: Folder or URI of the weights, or None for the package's own.
        threads: Number of images computed in parallel.

    Raises:
        ModelError: If the network is a segmenter, or its weights are missing or not valid.
    """
    if name in NETWORKS and len(NETWORKS[name].classes) != 1:
        raise ModelError(
            f"Cannot open {name} as an image classifier: it segments images; open it with `open_segmenter`."
        )
    file = find_weights(name, models)
    return OnnxImageClassifier(_create_session(file), file.meta, file.sha256, threads)


# with these assignments mypy verifies that both classes conform to their protocols
_SEGMENTER: Callable[[str, str | None, int], Segmenter] = open_segmenter
_IMAGE_CLASSIFIER: Callable[[str, str | None, int], ImageClassifier] = open_image_classifier
