"""Six classes from three tasks, and one map from several dates (paper, section 2; docs/explanation/landcover.md).

Everything is per pixel except `date_weight`, which looks as far as `ramp_px`. All arrays may be slabs.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from s2ops.constants import BANDS, CLASS_NAMES, Bool, Float32, LandCover, Mask, UInt8
from s2ops.errors import InputError
from s2ops.imaging.tone_curve import levels_of
from s2ops.runtime.lazy_scipy import ndimage

CLASSES: Final = tuple(LandCover)[1:]
"""Order of the class axis: water, grass, tree, residential, industrial, barren."""
BARREN: Final = CLASSES.index(LandCover.BARREN)
NOTHING: Final = 0.5
"""Odds of barren: three times "other" is weaker evidence than if the three tasks erred independently."""
NO_CONFIDENCE: Final = 255
"""Confidence where there is no data."""
BLOCK_ROWS: Final = 32
"""Rows worked on at once: the temporaries of a 10,980 px wide tile stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class FusionRule:
    """The probabilistic model's numbers; docs/explanation/landcover.md derives the formula."""

    error: float = 0.02
    """Part of the looks that say nothing of the ground (haze, a missed shadow): mixed in evenly, so that no
    date can veto what the others say."""
    correlation: float = 0.5
    """Of two dates' errors: the same roof is mistaken on every date. 0: independent, 1: a date counts once."""
    absence: float = 0.5
    """Part by which a look that finds nothing (barren) weighs less than one that finds something: haze and blur hide
    houses and woods, and a field is bare for half the year; nothing makes houses out of sand on one date alone."""
    prior: tuple[float, ...] = (1 / 6,) * 6
    """Probability of each class before any look; the networks are trained on balanced classes."""


DEFAULT: Final = FusionRule()


def combine(water: UInt8, vegetation: UInt8, building: UInt8) -> Float32:
    """Probabilities (6, y, x) from those of the three tasks: exactly one of them is right.

    Inputs are (class, y, x), 255 is certainty: water (other, water), vegetation (other, grass, tree), building
    (none, residential, industrial). A pixel is grass if vegetation says grass while water and building say
    "other", and so on; barren is "other" for all three. Taken as independent and normalised, each class has
    the odds against barren that its own task states against "other":

        odds(water) = water / other,  odds(grass) = grass / other, ...,  odds(barren) = NOTHING

    Half a level is added everywhere, so that 0 is "under 1/500" rather than "never".
    """
    odds = np.empty((6, *water.shape[1:]), np.float32)
    for first, probs in ((0, water), (1, vegetation), (3, building)):
        other = probs[0] + np.float32(0.5)
        for offset, level in enumerate(probs[1:]):
            np.add(level, np.float32(0.5), out=odds[first + offset])
            odds[first + offset] /= other
    odds[BARREN] = NOTHING
    odds /= odds.sum(axis=0)
    return odds


@dataclass
class Fusion:
    """Dates of one slab, fed one after another; sums alone are kept: (6 + 2, y, x) float32.

    The order of feeding changes rounding only; feed in a fixed order for equal bytes.
    """

    shape: tuple[int, int]
    rule: FusionRule = DEFAULT
    evidence: Float32 = field(init=False, repr=False)
    """(6, y, x): sum over dates of told weight * log(likelihood of the class)."""
    told: Float32 = field(init=False, repr=False)
    """(y, x): sum of the weights, less where a look found nothing."""
    weight: Float32 = field(init=False, repr=False)
    """(y, x): sum of the weights."""

    def __post_init__(self) -> None:
        self.evidence = np.zeros((6, *self.shape), np.float32)
        self.told = np.zeros(self.shape, np.float32)
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
            told = weight[rows] * (1 - np.float32(self.rule.absence) * share[BARREN])
            share *= np.float32(1 - self.rule.error)
            share += np.float32(self.rule.error / 6)
            share /= prior
            np.log(share, out=share)
            share *= told
            self.evidence[:, rows] += share
            self.told[rows] += told
        self.weight += weight

    def decide(self) -> tuple[UInt8, UInt8]:
        """Classes (y, x), 0 where no date saw the pixel; confidence (y, x) in percent, 255 there.

        Confidence is the posterior probability of the class given.
        """
        classes, confidence = np.zeros(self.shape, np.uint8), np.full(self.shape, NO_CONFIDENCE, np.uint8)
        prior = np.log(np.array(self.rule.prior, np.float32))[:, None, None]
        for rows in _blocks(self.shape[0]):
            weight = self.weight[rows]
            posterior = self.evidence[:, rows] * self._scale(weight, self.told[rows]) + prior
            best = posterior.argmax(axis=0)
            posterior -= posterior.max(axis=0)
            np.exp(posterior, out=posterior)
            percent = np.rint(100 / posterior.sum(axis=0)).astype(np.uint8)
            classes[rows] = np.where(weight > 0, best + 1, LandCover.NODATA)
            confidence[rows] = np.where(weight > 0, percent, NO_CONFIDENCE)
        return classes, confidence

    def _scale(self, weight: Float32, told: Float32) -> Float32:
        """What the sum of all looks is multiplied by: their mean, times the number of independent looks it is worth.

        W dates of equal correlation r are worth W / (1 + r (W - 1)); a doubtful look alone is worth one. What is seen
        through veils alone is worth one look that is trusted half.
        """
        dates = np.maximum(weight, 1)
        worth = dates / (1 + np.float32(self.rule.correlation) * (dates - 1))
        worth[(weight > 0) & (weight < LEAST_WEIGHT)] = VEIL_TRUST
        scale: Float32 = np.divide(worth, np.maximum(told, np.float32(1e-6)), dtype=np.float32)
        return scale


RAMP_M: Final = 200.0
"""Distance from cloud and shadow at which a pixel counts in full: haze fringes reach about so far."""
LEAST_WEIGHT: Final = 0.25
"""Weight of a clear pixel that touches a cloud, beside other dates; seen only there, it counts in full."""

VEIL_WEIGHT: Final = 0.01
"""Of a look through a veil or into a shadow: any clear look outweighs two dozen of them."""
VEIL_TRUST: Final = 0.5
"""What such looks are worth together where no date is clear."""
VEIL_REFLECTANCE: Final = 0.2
"""In blue: cloud that is darker lets the ground shine through (haze over Boadella is 0.04 to 0.13, its clouds 0.36 and
more)."""


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


def seen_through(mask: UInt8, levels: UInt8) -> Bool:
    """(y, x) where a masked pixel still shows something of the ground: shadow, and thin cloud.

    `mask` (y, x) holds the codes of `Mask`, `levels` (4, y, x) the image.
    """
    thin = levels[BANDS.index("blue")] < levels_of(np.array(VEIL_REFLECTANCE, np.float32))
    out: Bool = (mask == Mask.SHADOW) | ((mask == Mask.CLOUD) & thin)
    return out


def class_areas(classes: UInt8, res: float) -> dict[str, float]:
    """Area of each class in km2, by name; no data left out. `classes` (y, x) has pixels of `res` metres."""
    counts = np.bincount(classes.ravel(), minlength=len(LandCover))
    return {CLASS_NAMES[code]: round(int(counts[code]) * res**2 / 1e6, 6) for code in CLASSES}


def _blocks(height: int) -> list[slice]:
    return [slice(top, min(top + BLOCK_ROWS, height)) for top in range(0, height, BLOCK_ROWS)]
