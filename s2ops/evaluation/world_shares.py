"""Shares of reference pixels (class called there), counted by block of a place, as figures of the world checks."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from s2ops.constants import Bool, Float64, Int64, LandCover
from s2ops.evaluation.accuracy import BLOCK_SIZE_PX, Subject, TrainingExposure, iterate_blocks
from s2ops.evaluation.simulated_scenes import FigureCollection
from s2ops.evaluation.world_gates import WORLD

METHOD: Final = "s2ops classify"
"""Method of every figure of the world checks."""

BUILT: Final = (LandCover.RESIDENTIAL, LandCover.INDUSTRIAL)
"""Classes of buildings."""


def compute_ratio(counts: Float64) -> float:
    """Return the share of hits from counts (hits, pixels); NaN without pixels."""
    return float(counts[0] / counts[1]) if counts[1] else float("nan")


def count_by_block(hit: Bool, where: Bool) -> list[Int64]:
    """Count (hits, pixels) of the reference pixels `where` (y, x) in each block that contains any."""
    return [
        np.array([(hit[block] & where[block]).sum(), where[block].sum()], np.int64) for block in iterate_blocks(where)
    ]


def add_share(
    tally: FigureCollection, data: str, score: str, counts: Sequence[Int64], seen: TrainingExposure, unit: str = ""
) -> None:
    """Add the share of hits as a figure.

    Args:
        tally: Collection to add to.
        data: Reference pixels, as `Gate.data`.
        score: Name of the share, as `Gate.score`.
        counts: (hits, pixels) per unit; nothing is added if it is empty.
        seen: Use of the places in training.
        unit: Plural noun of the units; blocks of one place if empty.
    """
    if counts:
        subject = Subject(WORLD, data, METHOD, unit or f"blocks of {BLOCK_SIZE_PX} px", seen)
        pixels = int(sum(count[1] for count in counts))
        tally.figures.append(subject.build_figure(score, counts, compute_ratio, pixels))
