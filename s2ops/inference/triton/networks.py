"""The networks on a Triton server, asked over gRPC: `segmenter: triton://HOST:PORT` (docs/how-to/serve-the-networks.md)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.protocols import Networks, Scorer, Segmenter, Weights
from s2ops.inference.triton.client import REQUEST_PIXELS, Limits, TritonClient
from s2ops.inference.triton.model_info import Served, with_first


@dataclass(frozen=True)
class _Model:
    """One Triton model, with the version of its weights fixed when it was first asked."""

    client: TritonClient
    served: Served
    batch: int
    """Largest number of windows in a request."""

    def ask(self, images: UInt8) -> UInt8:
        """(n, band, y, x) -> (n, *shape_out), in requests that are on their way together. Raises ModelError."""
        served = self.served
        if images.ndim != 4 or images.shape[1:] != served.shape_in or images.dtype != np.uint8:
            (bands, side, _), names = served.shape_in, ", ".join(served.meta.bands)
            raise ModelError(
                f"{served.model} on {self.client.url} takes uint8 (n, {bands}, {side}, {side}) with bands {names}, but "
                f"was given {images.dtype.name} {images.shape}: pick those bands and that size; smaller images "
                "need `segmenter: onnx`"
            )
        size = max(1, min(self.batch, REQUEST_PIXELS // served.side**2))
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        return np.concatenate(self.client.infer(served, parts))


@dataclass(frozen=True)
class TritonSegmenter:
    """A model that labels pixels (`Segmenter`)."""

    model: _Model

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that the model takes, in its order."""
        return self.model.served.meta.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the output's second axis."""
        return self.model.served.meta.classes

    @property
    def window(self) -> int:
        """Side of the square windows, in pixels; no other size is taken."""
        return self.model.served.side

    def predict(self, windows: UInt8) -> UInt8:
        """(n, band, window, window) levels -> (n, class, window, window) probabilities.

        Raises ModelError for another shape, InferenceUnreachable where the server does not answer in time.
        """
        return with_first(self.model.served, self.model.ask(windows))


@dataclass(frozen=True)
class TritonScorer:
    """A model that gives one probability per image (`Scorer`)."""

    model: _Model

    def score(self, images: UInt8) -> UInt8:
        """(n, band, y, x) levels of whole previews -> (n,) probabilities."""
        return self.model.ask(images)[:, 0]


@dataclass(frozen=True)
class TritonNetworks:
    """The networks of a server (`Networks`)."""

    url: str
    limits: Limits | None = None
    _model: Callable[[str], _Model] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        client = TritonClient(self.url, self.limits)
        opened = lru_cache(maxsize=None)(lambda name: _Model(client, *client.served(name)))
        object.__setattr__(self, "_model", opened)

    def weights(self, network: str) -> Weights:
        """What the server says of the weights."""
        return self._model(network).served

    def segmenter(self, network: str) -> Segmenter:
        """A network that labels pixels."""
        return TritonSegmenter(self._model(network))

    @cached_property
    def scorer(self) -> Scorer:
        """The haze network."""
        return TritonScorer(self._model("preview-haze"))


_NETWORKS: Callable[[str], Networks] = TritonNetworks  # mypy proves by this that it fits the protocol
