"""Signal check: images too dark to classify (dusk, polar night) and saturated pixels, which get no class."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from s2ops.constants import BANDS, Bool, Int64, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve

MAX_DARK_REFLECTANCE: Final = 0.03
"""Reflectance below which 99 % of the pixels of a dark image lie in every band. At dusk the noise of the sensor and the
light of the sky are as strong as the light from the ground."""

DARK_QUANTILE: Final = 0.99
"""Fraction of the pixels that are darker than `MAX_DARK_REFLECTANCE`: hot pixels and lamps do not count."""

MAX_WATER_NIR_RATIO: Final = 0.6
"""Ratio of near infrared to green up to which a dark image shows open water, which is as dark by day."""

SATURATED_LEVEL: Final = 254
"""Level from which a band is saturated (a reflectance of 1.37)."""


@dataclass
class BrightnessHistogram:
    """Histogram of the levels of an image, accumulated in slabs."""

    counts: Int64 = field(default_factory=lambda: np.zeros((len(BANDS), 256), np.int64), repr=False)
    """Number of pixels with data (band, level)."""

    def add(self, levels: UInt8) -> None:
        """Add levels (4, y, x) of a slab; pixels that are 0 in all bands are no data."""
        valid = (levels > 0).any(axis=0)
        for index, band in enumerate(levels):
            self.counts[index] += np.bincount(band[valid], minlength=256)

    def is_dark(self) -> bool:
        """Return whether the image is too dark to classify; an image without data is not."""
        total = int(self.counts[0].sum())
        if total == 0:
            return False
        limit = int(apply_tone_curve(np.array(MAX_DARK_REFLECTANCE, np.float32)))
        if (self.counts[:, : limit + 1].sum(axis=1) < DARK_QUANTILE * total).any():
            return False
        green, nir = (self._compute_mean_level(BANDS.index(band)) for band in ("green", "nir"))
        # levels are nearly proportional to reflectance here; level 1 is a reflectance of 0
        return nir - 1 > MAX_WATER_NIR_RATIO * (green - 1)

    def _compute_mean_level(self, band: int) -> float:
        return float(self.counts[band] @ np.arange(256) / self.counts[band].sum())


def find_saturated(levels: UInt8) -> Bool:
    """Find pixels (y, x) that are saturated in all bands of (4, y, x) levels."""
    out: Bool = np.asarray((levels >= SATURATED_LEVEL).all(axis=0))
    return out
