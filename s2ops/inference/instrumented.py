"""Instrumented segmenter: a decorator that counts the calls of any segmentation network for the run's metrics."""

from dataclasses import dataclass

from s2ops.constants import UInt8
from s2ops.inference.protocols import Segmenter
from s2ops.telemetry import counters, metrics


@dataclass(frozen=True)
class InstrumentedSegmenter:
    """Segmenter that passes its calls to another one and counts them under the network's name."""

    inner: Segmenter
    network: str

    @property
    def bands(self) -> tuple[str, ...]:
        """Input bands, in the network's order."""
        return self.inner.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the output's second axis."""
        return self.inner.classes

    @property
    def window(self) -> int:
        """Side of the square windows in pixels."""
        return self.inner.window

    def predict(self, windows: UInt8) -> UInt8:
        """Predict class probabilities (see `Segmenter.predict`)."""
        counters.add("network_px", windows[:, 0].size)
        with metrics.measure_inference(self.network, len(windows)):
            return self.inner.predict(windows)
