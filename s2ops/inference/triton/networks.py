"""Networks on a Triton server, called by gRPC: `segmenter: triton://HOST:PORT` (docs/how-to/serve-the-networks.md)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.protocols import ImageClassifier, Networks, Segmenter, WeightsInfo
from s2ops.inference.triton.client import MAX_REQUEST_PX, ClientLimits, TritonClient
from s2ops.inference.triton.model_info import ServedModelInfo, restore_reference_class


@dataclass(frozen=True)
class _PinnedModel:
    """Triton model whose version (weights) is fixed at the first call."""

    client: TritonClient
    info: ServedModelInfo
    batch: int
    """Maximum number of windows per request."""

    def infer(self, images: UInt8) -> UInt8:
        """Run the model on images (n, band, y, x), split into concurrent requests; return (n, *output_shape).

        Raises:
            ModelError: If shape or type of the images is wrong.
        """
        info = self.info
        if images.ndim != 4 or images.shape[1:] != info.input_shape or images.dtype != np.uint8:
            (bands, side, _), names = info.input_shape, ", ".join(info.meta.bands)
            raise ModelError(
                f"Wrong input for {info.model} on {self.client.url}: {images.dtype.name} {images.shape}; "
                f"pass uint8 (n, {bands}, {side}, {side}) with the bands {names}, "
                "or use `segmenter: onnx` for smaller images."
            )
        size = max(1, min(self.batch, MAX_REQUEST_PX // info.side**2))
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        return np.concatenate(self.client.infer(info, parts))


@dataclass(frozen=True)
class TritonSegmenter:
    """Segmentation network on a Triton server (`Segmenter`)."""

    model: _PinnedModel

    @property
    def bands(self) -> tuple[str, ...]:
        """Input bands, in the model's order."""
        return self.model.info.meta.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the output's second axis."""
        return self.model.info.meta.classes

    @property
    def window(self) -> int:
        """Side of the square windows in pixels; the server accepts no other size."""
        return self.model.info.side

    def predict(self, windows: UInt8) -> UInt8:
        """Predict class probabilities of windows (n, band, window, window) (see `Segmenter.predict`).

        Raises:
            ModelError: If shape or type of the windows is wrong.
            InferenceUnreachable: If the server does not answer in time.
        """
        return restore_reference_class(self.model.info, self.model.infer(windows))


@dataclass(frozen=True)
class TritonImageClassifier:
    """Image classification network on a Triton server (`ImageClassifier`)."""

    model: _PinnedModel

    def score(self, images: UInt8) -> UInt8:
        """Compute one probability per whole preview (see `ImageClassifier.score`)."""
        return self.model.infer(images)[:, 0]


@dataclass(frozen=True)
class TritonNetworks:
    """Networks of one Triton server (`Networks`)."""

    url: str
    limits: ClientLimits | None = None
    _open: Callable[[str], _PinnedModel] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        client = TritonClient(self.url, self.limits)
        open_model = lru_cache(maxsize=None)(lambda name: _PinnedModel(client, *client.fetch_model_info(name)))
        object.__setattr__(self, "_open", open_model)

    def get_weights_info(self, network: str) -> WeightsInfo:
        """Return the weights that the server reports for a network."""
        return self._open(network).info

    def get_segmenter(self, network: str) -> Segmenter:
        """Return the segmentation network of that name."""
        return TritonSegmenter(self._open(network))

    @cached_property
    def haze_classifier(self) -> ImageClassifier:
        """Haze network."""
        return TritonImageClassifier(self._open("preview-haze"))


_NETWORKS: Callable[[str], Networks] = TritonNetworks  # mypy verifies by this that the class conforms to the protocol
