"""Bayesian fusion of land-cover predictions: three networks to six classes, and several dates to one map.

Paper, section 2; docs/explanation/landcover.md derives the formulas. Everything is computed per pixel except
`compute_date_weight`, whose result depends on pixels up to `compute_ramp_px` away. All arrays may be slabs.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import scipy

from s2ops.constants import BANDS, CLASS_NAMES, Bool, Float32, LandCover, Mask, UInt8
from s2ops.errors import InputError
from s2ops.imaging.tone_curve import build_reflectance_table

CLASS_ORDER: Final = tuple(LandCover)[1:]
"""Order of the class axis: water, grass, tree, residential, industrial, barren."""
BARREN_INDEX: Final = CLASS_ORDER.index(LandCover.BARREN)
BARREN_ODDS: Final = 0.5
"""Odds of barren: "other" from all three tasks is weaker evidence than if their errors were independent."""
NO_CONFIDENCE: Final = 255
"""Confidence code for no data."""
BLOCK_ROWS: Final = 32
"""Rows processed at once: the temporary arrays of a 10,980 px wide tile fit into the processor's cache."""


@dataclass(frozen=True, slots=True)
class FusionParams:
    """Parameters of the probabilistic model (docs/explanation/landcover.md)."""

    error: float = 0.02
    """Fraction of observations that do not show the ground (haze, a missed shadow). It is spread evenly over the
    classes, so that no single date can veto the others."""
    correlation: float = 0.5
    """Correlation of two dates' errors: the same roof is misclassified on every date.
    0: independent errors; 1: all dates together count as one."""
    absence: float = 0.5
    """Fraction by which an observation of barren ground weighs less than one of another class. Haze and blur hide
    houses and woods, and a field is bare for half the year; but nothing turns sand into houses on one date alone."""
    prior: tuple[float, ...] = (1 / 6,) * 6
    """Prior probability of each class; the networks are trained on balanced classes."""


DEFAULT_PARAMS: Final = FusionParams()


def combine_tasks(water: UInt8, vegetation: UInt8, building: UInt8) -> Float32:
    """Combine the probabilities of the three tasks into those of six classes, of which exactly one is true.

    A pixel is grass if the vegetation task predicts grass while water and building predict "other", and so on; barren
    is "other" in all three. If the tasks are independent, the odds of a class against barren are those of its own task
    against "other":

        odds(water) = water / other,  odds(grass) = grass / other, ...,  odds(barren) = BARREN_ODDS

    Half a level is added to each probability, so that 0 means "below 1/500" instead of "impossible".

    Args:
        water: (other, water; y, x) uint8; 255 is certainty.
        vegetation: (other, grass, tree; y, x) uint8.
        building: (none, residential, industrial; y, x) uint8.

    Returns:
        Probabilities (6, y, x) float32 in `CLASS_ORDER`; they sum to 1.
    """
    odds = np.empty((6, *water.shape[1:]), np.float32)
    for first, probs in ((0, water), (1, vegetation), (3, building)):
        other = probs[0] + np.float32(0.5)
        for offset, level in enumerate(probs[1:]):
            np.add(level, np.float32(0.5), out=odds[first + offset])
            odds[first + offset] /= other
    odds[BARREN_INDEX] = BARREN_ODDS
    odds /= odds.sum(axis=0)
    return odds


@dataclass
class DateFusion:
    """Accumulator that fuses the dates of one slab; it stores sums only: (6 + 2, y, x) float32.

    The order of the dates changes only the rounding; feed them in a fixed order to get equal bytes.
    """

    shape: tuple[int, int]
    params: FusionParams = DEFAULT_PARAMS
    evidence: Float32 = field(init=False, repr=False)
    """(6, y, x): sum over dates of evidence weight * log(likelihood of the class)."""
    evidence_weight: Float32 = field(init=False, repr=False)
    """(y, x): sum of the weights, reduced where an observation is barren (see `absence`)."""
    weight: Float32 = field(init=False, repr=False)
    """(y, x): sum of the weights."""

    def __post_init__(self) -> None:
        self.evidence = np.zeros((6, *self.shape), np.float32)
        self.evidence_weight = np.zeros(self.shape, np.float32)
        self.weight = np.zeros(self.shape, np.float32)

    def feed(self, water: UInt8, vegetation: UInt8, building: UInt8, weight: Float32) -> None:
        """Add one date.

        Args:
            water: (other, water; y, x) uint8.
            vegetation: (other, grass, tree; y, x) uint8.
            building: (none, residential, industrial; y, x) uint8.
            weight: (y, x), 0 (hidden) to 1 (surely clear): see `compute_date_weight`.

        Raises:
            InputError: If an array has another shape than the fusion.
        """
        if weight.shape != self.shape or any(p.shape[1:] != self.shape for p in (water, vegetation, building)):
            raise InputError(
                f"Cannot add a date of {water.shape[1:]} pixels with weights of {weight.shape} to a fusion of "
                f"{self.shape}: the shapes differ; cut all to the same slab."
            )
        prior = np.array(self.params.prior, np.float32)[:, None, None]
        for rows in _split_rows(self.shape[0]):
            share = combine_tasks(water[:, rows], vegetation[:, rows], building[:, rows])
            trusted = weight[rows] * (1 - np.float32(self.params.absence) * share[BARREN_INDEX])
            share *= np.float32(1 - self.params.error)
            share += np.float32(self.params.error / 6)
            share /= prior
            np.log(share, out=share)
            share *= trusted
            self.evidence[:, rows] += share
            self.evidence_weight[rows] += trusted
        self.weight += weight

    def decide(self) -> tuple[UInt8, UInt8]:
        """Decide for the most probable class.

        Returns:
            Classes (y, x) uint8, codes of `LandCover`, 0 where no date shows the pixel; confidence (y, x) uint8, the
            posterior probability of the class in percent, 255 where no date shows the pixel.
        """
        classes, confidence = np.zeros(self.shape, np.uint8), np.full(self.shape, NO_CONFIDENCE, np.uint8)
        prior = np.log(np.array(self.params.prior, np.float32))[:, None, None]
        for rows in _split_rows(self.shape[0]):
            weight = self.weight[rows]
            posterior = self.evidence[:, rows] * self._compute_scale(weight, self.evidence_weight[rows]) + prior
            best = posterior.argmax(axis=0)
            posterior -= posterior.max(axis=0)
            np.exp(posterior, out=posterior)
            percent = np.rint(100 / posterior.sum(axis=0)).astype(np.uint8)
            np.minimum(
                percent, MAX_THIN_CLOUD_CONFIDENCE, out=percent, where=(weight > 0) & (weight < MIN_CLEAR_WEIGHT)
            )
            classes[rows] = np.where(weight > 0, best + 1, LandCover.NODATA)
            confidence[rows] = np.where(weight > 0, percent, NO_CONFIDENCE)
        return classes, confidence

    def _compute_scale(self, weight: Float32, evidence_weight: Float32) -> Float32:
        """Compute the factor that turns the sum of evidence into its mean times the effective number of observations.

        W dates of equal correlation r count as W / (1 + r (W - 1)); a single doubtful date counts as one. Pixels seen
        only through thin cloud or in shadow count as one observation with the factor THIN_CLOUD_TRUST.
        """
        dates = np.maximum(weight, 1)
        effective = dates / (1 + np.float32(self.params.correlation) * (dates - 1))
        effective[(weight > 0) & (weight < MIN_CLEAR_WEIGHT)] = THIN_CLOUD_TRUST
        scale: Float32 = np.divide(effective, np.maximum(evidence_weight, np.float32(1e-6)), dtype=np.float32)
        return scale


WEIGHT_RAMP_M: Final = 200.0
"""Distance from cloud and shadow, in metres, from which a pixel has full weight: haze reaches about that far."""
MIN_CLEAR_WEIGHT: Final = 0.25
"""Weight of a clear pixel beside a cloud, relative to other dates; if no other date shows it, it counts in full."""

THIN_CLOUD_WEIGHT: Final = 0.01
"""Weight of an observation through thin cloud or in shadow: one clear observation outweighs two dozen of them."""
THIN_CLOUD_TRUST: Final = 0.5
"""Effective number of such observations together where no date is clear."""
MIN_VEIL_REFLECTANCE: Final = 0.1
"""Blue reflectance from which a cloud as bright in near infrared as in blue is an opaque veil."""
MIN_VEIL_FLATNESS: Final = 0.75
"""Ratio of the darker to the brighter of blue and near infrared from which such a cloud hides the ground: plants, soil
and water differ in near infrared, a veil does not."""
MAX_VEIL_VARIATION: Final = 0.08
"""Coefficient of variation of blue around a pixel up to which it can be an opaque veil; snow on rock varies more."""
VEIL_WINDOW_PX: Final = 5
"""Side of the window of that variation, pixels."""
MAX_THIN_CLOUD_CONFIDENCE: Final = 50
"""Maximum confidence of a class that no clear observation supports, percent."""
THIN_CLOUD_REFLECTANCE: Final = 0.2
"""Blue reflectance below which the ground is visible through a cloud (haze over Boadella has 0.04 to 0.13, its clouds
0.36 and more)."""


def compute_ramp_px(res: float) -> int:
    """Compute the number of rows around a slab that `compute_date_weight` depends on."""
    return max(1, round(WEIGHT_RAMP_M / res))


def compute_date_weight(mask: UInt8, res: float) -> Float32:
    """Compute the weight of one date: 0 under cloud, shadow and no data, and low near cloud and shadow.

    Args:
        mask: Codes of `Mask` (y, x).
        res: Pixel size in metres.

    Returns:
        Weight (y, x) float32, 0 to 1.
    """
    masked = (mask == Mask.CLOUD) | (mask == Mask.SHADOW)
    weight = np.ones(mask.shape, np.float32)
    if masked.any():
        ramp = compute_ramp_px(res)
        distance = np.minimum(scipy.ndimage.distance_transform_cdt(~masked, "chessboard"), ramp)
        weight = np.float32(MIN_CLEAR_WEIGHT) + distance.astype(np.float32) * np.float32((1 - MIN_CLEAR_WEIGHT) / ramp)
    weight[mask != Mask.CLEAR] = 0
    return weight


def find_thin_cloud_or_shadow(mask: UInt8, levels: UInt8) -> Bool:
    """Find masked pixels (y, x) in which the ground is still visible: shadow, and thin cloud, but no opaque veil.

    Args:
        mask: Codes of `Mask` (y, x).
        levels: Image (4, y, x), uint8 levels. Pixels within `VEIL_WINDOW_PX` // 2 of its edge lack context.
    """
    table = np.nan_to_num(build_reflectance_table())
    blue, nir = (table[levels[BANDS.index(band)]] for band in ("blue", "nir"))
    veil = (blue >= MIN_VEIL_REFLECTANCE) & (np.minimum(blue, nir) >= MIN_VEIL_FLATNESS * np.maximum(blue, nir))
    veil &= _compute_variation(blue) <= MAX_VEIL_VARIATION
    out: Bool = (mask == Mask.SHADOW) | ((mask == Mask.CLOUD) & (blue < THIN_CLOUD_REFLECTANCE) & ~veil)
    return out


def _compute_variation(band: Float32) -> Float32:
    """Compute the coefficient of variation (y, x) of reflectance (y, x) in windows of `VEIL_WINDOW_PX`."""
    mean = scipy.ndimage.uniform_filter(band, VEIL_WINDOW_PX)
    variance = scipy.ndimage.uniform_filter(band * band, VEIL_WINDOW_PX) - mean * mean
    out: Float32 = np.sqrt(np.maximum(variance, 0)) / np.maximum(mean, np.float32(1e-3))
    return out


def compute_class_areas(classes: UInt8, res: float) -> dict[str, float]:
    """Compute the area of each class in km2, by name, from codes (y, x) with pixels of `res` metres; omit no data."""
    counts = np.bincount(classes.ravel(), minlength=len(LandCover))
    return {CLASS_NAMES[code]: round(int(counts[code]) * res**2 / 1e6, 6) for code in CLASS_ORDER}


def _split_rows(height: int) -> list[slice]:
    return [slice(top, min(top + BLOCK_ROWS, height)) for top in range(0, height, BLOCK_ROWS)]
