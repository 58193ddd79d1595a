"""Figures with their uncertainty: confusion tables by place, resampled; and how honest probabilities are.

Pixels of one place resemble each other, so intervals come from drawing places (or blocks of one place) again with
replacement, never pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict

from s2ops.constants import Bool, Float64, Int64, UInt8

DRAWS: Final = 1000
BINS: Final = 10
UNKNOWN: Final = 255
"""Truth of pixels that do not count."""

Counts: TypeAlias = Int64 | Float64

Score: TypeAlias = Callable[[Float64], float]
"""From summed counts to one number; nan where it is not defined."""


Seen: TypeAlias = Literal["held out", "seen", "no training"]


class Figure(BaseModel):
    """One line of the scorecard."""

    model_config = ConfigDict(frozen=True)

    network: str
    data: str
    method: str
    score: str
    value: float
    low: float | None
    high: float | None
    """95 % interval; None where there is but one unit."""
    pixels: int
    units: str
    """What was drawn again for the interval, such as '24 places'."""
    seen: Seen
    """Whether training saw these places; 'no training' for methods that have none of ours."""
    weights: str | None = None
    """Networks and the start of their SHA-256, where they are not those that the scorecard is of."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What stays the same from run to run."""
        return (self.network, self.data, self.method, self.score)


class Curve(BaseModel):
    """Reliability of one network on one data set: for each bin of confidence, its share, mean and part right."""

    model_config = ConfigDict(frozen=True)

    network: str
    data: str
    share: tuple[float, ...]
    confidence: tuple[float, ...]
    right: tuple[float, ...]


@dataclass(frozen=True)
class Subject:
    """What a figure is about."""

    network: str
    data: str
    method: str
    unit: str
    """Plural."""
    seen: Seen = "held out"

    def figure(self, score: str, counts: Sequence[Counts], of: Score, pixels: int) -> Figure:
        """The score over the sum of all units' `counts`, with its interval."""
        value, low, high = resampled(np.stack(counts).astype(np.float64), of)
        return Figure(
            network=self.network, data=self.data, method=self.method, score=score, value=value, low=low, high=high,
            pixels=pixels, units=f"{len(counts)} {self.unit}", seen=self.seen,
        )  # fmt: skip

    def of_tables(self, tables: Sequence[Int64], scores: Mapping[str, Score]) -> list[Figure]:
        """Figures of confusion tables, one table a unit; scores that are not defined there are left out."""
        pixels = int(sum(table.sum() for table in tables))
        made = [self.figure(name, tables, score, pixels) for name, score in scores.items()]
        return [figure for figure in made if np.isfinite(figure.value)]


def resampled(counts: Float64, of: Score) -> tuple[float, float | None, float | None]:
    """(unit, ...) counts -> the score of their sum, and the bounds of its 95 % interval (percentile bootstrap)."""
    value = round(of(counts.sum(axis=0)), 4)
    if len(counts) < 2:
        return value, None, None
    rng = np.random.default_rng(len(counts))
    drawn = [of(counts[rng.integers(len(counts), size=len(counts))].sum(axis=0)) for _ in range(DRAWS)]
    sound = np.array(drawn)[np.isfinite(drawn)]
    if not sound.size:
        return value, None, None
    low, high = np.percentile(sound, (2.5, 97.5))
    return value, round(float(low), 4), round(float(high), 4)


def confusion(truth: UInt8, found: UInt8, classes: int) -> Int64:
    """Counts (truth, found) of pixels whose truth is known; what is found is always a class."""
    known = truth < classes
    pairs = truth[known].astype(np.int64) * classes + found[known]
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def iou(code: int) -> Score:
    """Intersection over union of a class."""

    def score(table: Float64) -> float:
        union = table[code].sum() + table[:, code].sum() - table[code, code]
        return float(table[code, code] / union) if union else float("nan")

    return score


def macro_f1(table: Float64) -> float:
    """Mean F1 of the classes that the truth holds."""
    both = table.sum(axis=0) + table.sum(axis=1)
    held = table.sum(axis=1) > 0
    return float(np.mean(2 * table.diagonal()[held] / both[held])) if held.any() else float("nan")


def f1(code: int) -> Score:
    """F1 of a class."""

    def score(table: Float64) -> float:
        both = table[code].sum() + table[:, code].sum()
        return float(2 * table[code, code] / both) if both and table[code].sum() else float("nan")

    return score


def bins_of(confidence: Float64, right: Bool) -> Float64:
    """(10, 3): pixels, summed confidence and pixels that are right, by confidence 0 to 1. Both inputs (n,)."""
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    columns = [np.bincount(place, weights, BINS) for weights in (None, confidence, right.astype(np.float64))]
    return np.stack(columns, axis=1).astype(np.float64)


def network_bins(probs: UInt8, truth: UInt8) -> Float64:
    """`bins_of` the most probable class: (class, y, x) probabilities of 255 against (y, x) class indices."""
    known = (truth < len(probs)) & probs.any(axis=0)
    chosen = probs[:, known].astype(np.float64)
    confidence = chosen.max(axis=0) / np.maximum(chosen.sum(axis=0), 1)
    return bins_of(confidence, chosen.argmax(axis=0) == truth[known])


def calibration_error(bins: Float64) -> float:
    """Expected calibration error: mean distance of confidence and part right, weighted by pixels."""
    total = bins[:, 0].sum()
    return float(np.abs(bins[:, 1] - bins[:, 2]).sum() / total) if total else float("nan")


def curve(network: str, data: str, bins: Sequence[Float64]) -> Curve:
    """The reliability curve of all units together; empty bins are 0."""
    count, confidence, right = np.sum(bins, axis=0).T
    filled = np.maximum(count, 1)
    columns = (count / max(count.sum(), 1), confidence / filled, right / filled)
    share, mean, part = (tuple(round(float(value), 4) for value in column) for column in columns)
    return Curve(network=network, data=data, share=share, confidence=mean, right=part)


def auc(scores: Float64) -> float:
    """Area under the ROC curve from (2, 256) counts: how many of no and yes have each 8-bit probability."""
    no, yes = scores
    if not no.sum() or not yes.sum():
        return float("nan")
    below = np.cumsum(no) - no
    return float((yes * (below + no / 2)).sum() / (no.sum() * yes.sum()))
