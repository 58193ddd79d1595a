"""Classification metrics: values computed by hand, and what is not defined."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2ops.imaging.classification_metrics import (
    compute_auc,
    compute_auc_from_counts,
    compute_f1,
    compute_iou,
    compute_macro_f1,
    compute_overall_accuracy,
    count_confusion,
)


def test_scores_of_a_small_table_equal_those_computed_by_hand() -> None:
    truth, found = np.array([0, 0, 1, 1, 255], np.uint8), np.array([0, 1, 1, 1, 0], np.uint8)
    table = count_confusion(truth, found, 2)
    assert table.tolist() == [[1, 1], [0, 2]]
    assert [compute_iou(table, code) for code in (0, 1)] == pytest.approx([0.5, 2 / 3])
    assert [compute_f1(table, code) for code in (0, 1)] == pytest.approx([2 / 3, 0.8])
    assert compute_macro_f1(table) == pytest.approx((0.8 + 2 / 3) / 2)
    assert compute_overall_accuracy(table) == 0.75
    assert compute_macro_f1(table.astype(np.float64)) == compute_macro_f1(table)


def test_confusion_leaves_out_pixels_without_a_class_on_either_side() -> None:
    truth, found = np.array([0, 255, 1], np.uint8), np.array([0, 0, 255], np.uint8)
    assert count_confusion(truth, found, 2).tolist() == [[1, 0], [0, 0]]


def test_macro_f1_does_not_count_a_class_that_the_truth_lacks() -> None:
    table = np.array([[3.0, 1.0], [0.0, 0.0]])
    assert compute_f1(table, 1) == 0
    assert compute_macro_f1(table) == pytest.approx(6 / 7)


def test_scores_are_nan_where_nothing_can_be_compared() -> None:
    empty = np.zeros((2, 2), np.int64)
    scores = [compute_iou(empty, 1), compute_f1(empty, 1), compute_macro_f1(empty), compute_overall_accuracy(empty)]
    assert all(math.isnan(score) for score in scores)
    assert math.isnan(compute_auc(np.array([True]), np.array([0.9])))
    assert math.isnan(compute_auc_from_counts(np.array([[1, 1], [0, 0]])))


def test_auc_counts_ties_half() -> None:
    assert compute_auc(np.array([True, False, False]), np.array([0.9, 0.1, 0.9])) == 0.75
    assert compute_auc(np.array([0, 0, 1, 1]) == 1, np.array([0.1, 0.4, 0.4, 0.9])) == 0.875
    counts = np.zeros((2, 256))
    counts[0, [10, 200]] = 1
    counts[1, [200, 250]] = 1
    assert compute_auc_from_counts(counts) == pytest.approx(3.5 / 4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=30))
def test_auc_equals_the_mean_over_all_pairs(samples: list[tuple[bool, int]]) -> None:
    labels, scores = np.array([label for label, _ in samples]), np.array([score / 8 for _, score in samples])
    gaps = scores[labels][:, None] - scores[~labels][None, :]
    if gaps.size:
        assert compute_auc(labels, scores) == float(np.mean((gaps > 0) + 0.5 * (gaps == 0)))
    else:
        assert math.isnan(compute_auc(labels, scores))
