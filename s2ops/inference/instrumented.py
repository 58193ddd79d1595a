"""A segmenter whose calls are counted (metrics.py): the same for every engine, since each call passes here."""

from dataclasses import dataclass

from s2ops.constants import UInt8
from s2ops.inference.protocols import Segmenter
from s2ops.telemetry import counters, metrics


@dataclass(frozen=True)
class Counted:
    """Another segmenter, with its calls counted under the network's name."""

    inner: Segmenter
    network: str

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that the network takes, in its order."""
        return self.inner.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the output's second axis."""
        return self.inner.classes

    @property
    def window(self) -> int:
        """Side of the square windows, in pixels."""
        return self.inner.window

    def predict(self, windows: UInt8) -> UInt8:
        """(n, band, y, x) 8-bit levels -> (n, class, y, x) probabilities, 255 is certainty. Thread-safe."""
        counters.add("network_px", windows[:, 0].size)
        with metrics.inference(self.network, len(windows)):
            return self.inner.predict(windows)
