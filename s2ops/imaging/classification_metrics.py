"""Classification metrics (accuracy assessment): confusion matrix, IoU (Jaccard), F1 (Dice), overall accuracy, ROC AUC.

All scores are unrounded floats, and NaN where they are not defined. Callers round when they store a score.
"""

import math

import numpy as np

from s2ops.constants import Bool, Float64, Int64, UInt8

CountTable = Int64 | Float64
"""Confusion matrix (class of the truth, class found) of pixel counts; may be weighted or resampled."""


def count_confusion(truth: UInt8 | Int64, found: UInt8 | Int64, classes: int) -> Int64:
    """Count the pixels of each pair of true and found class.

    Args:
        truth: Class index of each pixel, any shape.
        found: Class index of each pixel, same shape.
        classes: Number of classes. A pixel is left out if either index is `classes` or more, for example no data (255).

    Returns:
        Confusion matrix (classes, classes); rows are the truth, columns are the classes found.
    """
    use = (truth < classes) & (found < classes)
    pairs = truth[use].astype(np.int64) * classes + found[use]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def compute_iou(table: CountTable, code: int) -> float:
    """Return intersection over union of class `code`; NaN if neither truth nor map contains it."""
    union = float(table[code].sum() + table[:, code].sum() - table[code, code])
    return float(table[code, code]) / union if union else math.nan


def compute_f1(table: CountTable, code: int) -> float:
    """Return the harmonic mean of precision and recall of class `code`; NaN if neither truth nor map contains it."""
    both = float(table[code].sum() + table[:, code].sum())
    return 2 * float(table[code, code]) / both if both else math.nan


def compute_macro_f1(table: CountTable) -> float:
    """Return the mean F1 of the classes that occur in the truth; NaN for an empty table."""
    both = table.sum(axis=0) + table.sum(axis=1)
    held = table.sum(axis=1) > 0
    return float(np.mean(2 * table.diagonal()[held] / both[held])) if held.any() else math.nan


def compute_overall_accuracy(table: CountTable) -> float:
    """Return the fraction of pixels whose class is right; NaN for an empty table."""
    total = float(table.sum())
    return float(table.diagonal().sum()) / total if total else math.nan


def compute_auc(labels: Bool, scores: np.ndarray) -> float:
    """Return the area under the ROC curve of a binary classifier.

    This is the probability that a positive sample scores higher than a negative one; ties count half (Mann-Whitney U).

    Args:
        labels: True for positive samples, shape (n,).
        scores: Score of each sample, shape (n,).

    Returns:
        Area between 0 and 1; NaN unless there are both positive and negative samples.
    """
    _, rank = np.unique(scores, return_inverse=True)
    counts = [np.bincount(rank[labels == side], minlength=len(scores)) for side in (False, True)]
    return compute_auc_from_counts(np.stack(counts))


def compute_auc_from_counts(counts: CountTable) -> float:
    """Return the area under the ROC curve from the number of samples with each score.

    Args:
        counts: Shape (2, n): negative and positive samples by score, in ascending order of the score.

    Returns:
        Area between 0 and 1; NaN unless there are both positive and negative samples.
    """
    negative, positive = counts
    if not negative.sum() or not positive.sum():
        return math.nan
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (negative.sum() * positive.sum()))
