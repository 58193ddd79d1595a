"""Inference protocols: the interface between the pipeline and its networks, wherever they run."""

from typing import Protocol

from s2ops.constants import UInt8
from s2ops.models.registry import ModelMeta


class Segmenter(Protocol):
    """Semantic segmentation network: class probabilities for each pixel of 8-bit windows."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Input bands, in the network's order."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the output's second axis."""

    @property
    def window(self) -> int:
        """Side of the square windows in pixels."""

    def predict(self, windows: UInt8) -> UInt8:
        """Predict class probabilities. Thread-safe.

        Args:
            windows: uint8 levels (n, band, y, x), 0 is no data.

        Returns:
            uint8 probabilities (n, class, y, x), 255 is certainty.
        """


class ImageClassifier(Protocol):
    """Image classification network: one probability per image (haze)."""

    def score(self, images: UInt8) -> UInt8:
        """Compute one probability per image.

        Args:
            images: uint8 levels (n, band, y, x).

        Returns:
            uint8 probabilities (n,), 255 is certainty.
        """


class WeightsInfo(Protocol):
    """Identity of the weights in use: their metadata, and their checksum for fingerprints and STAC items."""

    @property
    def meta(self) -> ModelMeta:
        """Metadata stored in the weights file."""

    @property
    def sha256(self) -> str:
        """SHA-256 of the weights file."""


class Networks(Protocol):
    """All networks of a run; each is opened on first use."""

    def get_weights_info(self, network: str) -> WeightsInfo:
        """Return the identity of the weights that a network uses."""

    def get_segmenter(self, network: str) -> Segmenter:
        """Return the segmentation network of that name."""

    @property
    def haze_classifier(self) -> ImageClassifier:
        """Haze network."""
