"""Accuracy figures with confidence intervals (percentile bootstrap over places), calibration error, reliability curve.

Pixels of one place resemble each other. Intervals therefore come from resampling places (or blocks of one place) with
replacement, and never from resampling pixels.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict

from s2ops.constants import Bool, Float64, Int64, UInt8
from s2ops.imaging.classification_metrics import CountTable, compute_f1, compute_iou

BOOTSTRAP_DRAWS: Final = 1000
"""Number of resamples per interval."""

CONFIDENCE_BINS: Final = 10
"""Number of equal bins of confidence from 0 to 1."""

BLOCK_SIZE_PX: Final = 64
"""Side of the blocks of one place that are resampled for intervals, pixels."""

UNKNOWN_TRUTH: Final = 255
"""Truth of pixels that do not count."""

Score: TypeAlias = Callable[[Float64], float]
"""Function from summed counts to one number; NaN where it is not defined."""

TrainingExposure: TypeAlias = Literal["held out", "seen", "no training"]
"""Use of the scored places in training; 'no training' marks methods that we did not train."""


class Figure(BaseModel):
    """One line of the scorecard: a score of one method on one data set, with its interval."""

    model_config = ConfigDict(frozen=True)

    network: str
    data: str
    method: str
    score: str
    value: float
    low: float | None
    high: float | None
    """Bounds of the 95 % interval; None if there is only one unit."""
    pixels: int
    units: str
    """Number and kind of the units that were resampled, such as '24 places'."""
    seen: TrainingExposure
    weights: str | None = None
    """Networks and the start of their SHA-256, if they differ from the networks that the scorecard describes."""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Identity of the figure across runs."""
        return (self.network, self.data, self.method, self.score)


class ReliabilityCurve(BaseModel):
    """Reliability curve of one network on one data set: share, mean confidence and fraction right of each bin."""

    model_config = ConfigDict(frozen=True)

    network: str
    data: str
    share: tuple[float, ...]
    confidence: tuple[float, ...]
    right: tuple[float, ...]


@dataclass(frozen=True)
class Subject:
    """Subject of a figure: network, data set, method, and the unit of resampling."""

    network: str
    data: str
    method: str
    unit: str
    """Plural noun, such as 'places'."""
    seen: TrainingExposure = "held out"

    def build_figure(self, name: str, counts: Sequence[CountTable], score: Score, pixels: int) -> Figure:
        """Compute a score over the summed counts of all units, with its interval.

        Args:
            name: Name of the score.
            counts: One array of counts per unit, all of one shape.
            score: Function from summed counts to the score.
            pixels: Number of pixels that the figure reports.
        """
        value, low, high = estimate_interval(np.stack(counts).astype(np.float64), score)
        return Figure(
            network=self.network, data=self.data, method=self.method, score=name, value=value, low=low, high=high,
            pixels=pixels, units=f"{len(counts)} {self.unit}", seen=self.seen,
        )  # fmt: skip

    def score_tables(self, tables: Sequence[Int64], scores: Mapping[str, Score]) -> list[Figure]:
        """Compute named scores of confusion matrices, one per unit; leave out scores that are not defined."""
        pixels = int(sum(table.sum() for table in tables))
        made = [self.build_figure(name, tables, score, pixels) for name, score in scores.items()]
        return [figure for figure in made if np.isfinite(figure.value)]


def estimate_interval(counts: Float64, score: Score) -> tuple[float, float | None, float | None]:
    """Estimate a score and its 95 % confidence interval by bootstrap over units (percentile method).

    Args:
        counts: Counts of each unit, shape (unit, ...).
        score: Function from counts summed over units to the score.

    Returns:
        Score of all units together, lower bound, upper bound, with four decimals. The bounds are None if there is one
        unit only, or if no resample has a defined score.
    """
    value = round(score(counts.sum(axis=0)), 4)
    if len(counts) < 2:
        return value, None, None
    rng = np.random.default_rng(len(counts))
    drawn = [score(counts[rng.integers(len(counts), size=len(counts))].sum(axis=0)) for _ in range(BOOTSTRAP_DRAWS)]
    sound = np.array(drawn)[np.isfinite(drawn)]
    if not sound.size:
        return value, None, None
    low, high = np.percentile(sound, (2.5, 97.5))
    return value, round(float(low), 4), round(float(high), 4)


def iterate_blocks(where: Bool) -> Iterator[tuple[slice, slice]]:
    """Yield the blocks (rows, columns) of an image that contain a pixel of `where` (y, x)."""
    for top in range(0, where.shape[0], BLOCK_SIZE_PX):
        for left in range(0, where.shape[1], BLOCK_SIZE_PX):
            block = slice(top, top + BLOCK_SIZE_PX), slice(left, left + BLOCK_SIZE_PX)
            if where[block].any():
                yield block


def build_iou_score(code: int) -> Score:
    """Build the score "IoU of class `code`" of a confusion matrix."""
    return lambda table: compute_iou(table, code)


def build_f1_score(code: int) -> Score:
    """Build the score "F1 of class `code`"; it is not defined where the truth lacks the class."""
    return lambda table: compute_f1(table, code) if table[code].sum() else float("nan")


def count_by_confidence(confidence: Float64, right: Bool) -> Float64:
    """Count pixels by confidence.

    Args:
        confidence: Probability of the chosen class, 0 to 1, shape (n,).
        right: Whether the chosen class is right, shape (n,).

    Returns:
        Shape (`CONFIDENCE_BINS`, 3): number of pixels, sum of confidence, number of pixels that are right.
    """
    place = np.minimum((confidence * CONFIDENCE_BINS).astype(np.int64), CONFIDENCE_BINS - 1)
    columns = [np.bincount(place, weights, CONFIDENCE_BINS) for weights in (None, confidence, right.astype(np.float64))]
    return np.stack(columns, axis=1).astype(np.float64)


def count_probs_by_confidence(probs: UInt8, truth: UInt8) -> Float64:
    """Count the pixels of a network's answer by the confidence of its most probable class.

    Args:
        probs: Probabilities (class, y, x), 255 is certain; pixels where all are 0 do not count.
        truth: True class index (y, x); indices that are not a class do not count.

    Returns:
        Counts as `count_by_confidence` returns them.
    """
    known = (truth < len(probs)) & probs.any(axis=0)
    chosen = probs[:, known].astype(np.float64)
    confidence = chosen.max(axis=0) / np.maximum(chosen.sum(axis=0), 1)
    return count_by_confidence(confidence, chosen.argmax(axis=0) == truth[known])


def compute_calibration_error(bins: Float64) -> float:
    """Return the expected calibration error (ECE): mean distance of confidence and fraction right, weighted by pixels.

    Args:
        bins: Counts as `count_by_confidence` returns them.
    """
    total = bins[:, 0].sum()
    return float(np.abs(bins[:, 1] - bins[:, 2]).sum() / total) if total else float("nan")


def build_reliability_curve(network: str, data: str, bins: Sequence[Float64]) -> ReliabilityCurve:
    """Build the reliability curve of all units together; empty bins are 0."""
    count, confidence, right = np.sum(bins, axis=0).T
    filled = np.maximum(count, 1)
    columns = (count / max(count.sum(), 1), confidence / filled, right / filled)
    share, mean, part = (tuple(round(float(value), 4) for value in column) for column in columns)
    return ReliabilityCurve(network=network, data=data, share=share, confidence=mean, right=part)
