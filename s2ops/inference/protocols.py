"""The one door for inference: what the chain asks of a network, wherever it runs."""

from typing import Protocol

from s2ops.constants import UInt8
from s2ops.models.registry import ModelMeta


class Segmenter(Protocol):
    """A network that gives class probabilities for windows of an 8-bit image."""

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that the network takes, in its order."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the output's second axis."""

    @property
    def window(self) -> int:
        """Side of the square windows, in pixels."""

    def predict(self, windows: UInt8) -> UInt8:
        """(n, band, y, x) 8-bit levels -> (n, class, y, x) probabilities, 255 is certainty. Thread-safe."""


class Scorer(Protocol):
    """A network that gives one probability per image (haze)."""

    def score(self, images: UInt8) -> UInt8:
        """(n, band, y, x) -> (n,) probability, 255 is certainty."""


class Weights(Protocol):
    """Which weights answer: their metadata, and the checksum that goes into fingerprints and items."""

    @property
    def meta(self) -> ModelMeta:
        """What the weights say of themselves."""

    @property
    def sha256(self) -> str:
        """Of the weights file."""


class Networks(Protocol):
    """All networks of a run; each is opened when first asked for."""

    def weights(self, network: str) -> Weights:
        """The weights that `segmenter` or `scorer` of that name answer with."""

    def segmenter(self, network: str) -> Segmenter:
        """A network that labels pixels."""

    @property
    def scorer(self) -> Scorer:
        """The haze network."""
