"""Six classes from three networks, and one map from several dates (paper, section 2; docs/landcover.md).

Everything is per pixel except `date_weight`, which looks as far as `ramp_px`. All arrays may be slabs.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.codes import CLASS_NAMES, Float32, LandCover, Mask, UInt8
from s2ops.errors import InputError

CLASSES: Final = tuple(LandCover)[1:]
"""Order of the class axis: water, grass, tree, residential, industrial, barren."""
NO_CONFIDENCE: Final = 255
"""Confidence where there is no data."""
BLOCK_ROWS: Final = 32
"""Rows worked on at once: the temporaries of a 10,980 px wide tile stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class FusionRule:
    """The probabilistic model's numbers; docs/landcover.md derives the formula."""

    error: float = 0.05
    """Part of the looks that say nothing of the ground (haze, a missed shadow): mixed in evenly, so that no
    date can veto what the others say."""
    correlation: float = 0.5
    """Of two dates' errors: the same roof is mistaken on every date. 0: independent, 1: a date counts once."""
    prior: tuple[float, ...] = (1 / 6,) * 6
    """Probability of each class before any look; the networks are trained on balanced classes."""


DEFAULT: Final = FusionRule()


def combine(water: UInt8, vegetation: UInt8, building: UInt8) -> Float32:
    """Probabilities (6, y, x) from those of the three networks: exactly one of them is right.

    Inputs are (class, y, x), 255 is certainty: water (other, water), vegetation (other, grass, tree), building
    (none, residential, industrial). A pixel is grass if vegetation says grass while water and building say
    "other", and so on; barren is "other" for all three. Taken as independent and normalised, each class has
    the odds against barren that its own network states against "other":

        odds(water) = water / other,  odds(grass) = grass / other, ...,  odds(barren) = 1

    Half a level is added everywhere, so that 0 is "under 1/500" rather than "never".
    """
    odds = np.empty((6, *water.shape[1:]), np.float32)
    for first, probs in ((0, water), (1, vegetation), (3, building)):
        other = probs[0] + np.float32(0.5)
        for offset, level in enumerate(probs[1:]):
            np.add(level, np.float32(0.5), out=odds[first + offset])
            odds[first + offset] /= other
    odds[5] = 1
    odds /= odds.sum(axis=0)
    return odds


@dataclass
class Fusion:
    """Dates of one slab, fed one after another; the sum alone is kept: (6 + 1, y, x) float32.

    The order of feeding changes rounding only; feed in a fixed order for equal bytes.
    """

    shape: tuple[int, int]
    rule: FusionRule = DEFAULT
    evidence: Float32 = field(init=False, repr=False)
    """(6, y, x): sum over dates of weight * log(likelihood of the class)."""
    weight: Float32 = field(init=False, repr=False)
    """(y, x): sum of the weights."""

    def __post_init__(self) -> None:
        self.evidence = np.zeros((6, *self.shape), np.float32)
        self.weight = np.zeros(self.shape, np.float32)

    def feed(self, water: UInt8, vegetation: UInt8, building: UInt8, weight: Float32) -> None:
        """Add one date. `weight` (y, x) is 0 (not seen) to 1 (surely clear): see `date_weight`."""
        if weight.shape != self.shape or any(p.shape[1:] != self.shape for p in (water, vegetation, building)):
            raise InputError(
                f"a date of {water.shape[1:]} pixels with weights of {weight.shape} was fed to a fusion of "
                f"{self.shape}: cut all to the same slab"
            )
        prior = np.array(self.rule.prior, np.float32)[:, None, None]
        for rows in _blocks(self.shape[0]):
            share = combine(water[:, rows], vegetation[:, rows], building[:, rows])
            share *= np.float32(1 - self.rule.error)
            share += np.float32(self.rule.error / 6)
            share /= prior
            np.log(share, out=share)
            share *= weight[rows]
            self.evidence[:, rows] += share
        self.weight += weight

    def decide(self) -> tuple[UInt8, UInt8]:
        """Classes (y, x), 0 where no date saw the pixel; confidence (y, x) in percent, 255 there.

        Confidence is the posterior probability of the class given.
        """
        classes, confidence = np.zeros(self.shape, np.uint8), np.full(self.shape, NO_CONFIDENCE, np.uint8)
        prior = np.log(np.array(self.rule.prior, np.float32))[:, None, None]
        for rows in _blocks(self.shape[0]):
            weight = self.weight[rows]
            posterior = self.evidence[:, rows] * self._tempering(weight) + prior
            best = posterior.argmax(axis=0)
            posterior -= posterior.max(axis=0)
            np.exp(posterior, out=posterior)
            percent = np.rint(100 / posterior.sum(axis=0)).astype(np.uint8)
            classes[rows] = np.where(weight > 0, best + 1, LandCover.NODATA)
            confidence[rows] = np.where(weight > 0, percent, NO_CONFIDENCE)
        return classes, confidence

    def _tempering(self, weight: Float32) -> Float32:
        """Effective over nominal number of dates: W dates of equal correlation r are worth W / (1 + r (W - 1))."""
        surplus = np.maximum(weight - 1, 0)
        tempering: Float32 = np.reciprocal(1 + np.float32(self.rule.correlation) * surplus, dtype=np.float32)
        return tempering


RAMP_M: Final = 200.0
"""Distance from cloud and shadow at which a pixel counts in full: haze fringes reach about so far."""
LEAST_WEIGHT: Final = 0.25
"""Weight of a clear pixel that touches a cloud: seen only there, it still gets a class, with low confidence."""


def ramp_px(res: float) -> int:
    """Rows around a slab that `date_weight` depends on."""
    return max(1, round(RAMP_M / res))


def date_weight(mask: UInt8, res: float) -> Float32:
    """Weight (y, x) of one date, 0 to 1: 0 under cloud, shadow and no data, and low near cloud and shadow.

    `mask` (y, x) holds the codes of `Mask`.
    """
    masked = (mask == Mask.CLOUD) | (mask == Mask.SHADOW)
    weight = np.ones(mask.shape, np.float32)
    if masked.any():
        ramp = ramp_px(res)
        distance = np.minimum(ndimage.distance_transform_cdt(~masked, "chessboard"), ramp)
        weight = np.float32(LEAST_WEIGHT) + distance.astype(np.float32) * np.float32((1 - LEAST_WEIGHT) / ramp)
    weight[mask != Mask.CLEAR] = 0
    return weight


def class_areas(classes: UInt8, res: float) -> dict[str, float]:
    """Area of each class in km2, by name; no data left out. `classes` (y, x) has pixels of `res` metres."""
    counts = np.bincount(classes.ravel(), minlength=len(LandCover))
    return {CLASS_NAMES[code]: round(int(counts[code]) * res**2 / 1e6, 6) for code in CLASSES}


def _blocks(height: int) -> list[slice]:
    return [slice(top, min(top + BLOCK_ROWS, height)) for top in range(0, height, BLOCK_ROWS)]
