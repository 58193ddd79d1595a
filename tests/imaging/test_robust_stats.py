"""Robust statistics: weighted median, MAD scale, biweight mean and Huber weights."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s2ops.imaging.robust_stats import (
    compute_biweight_mean,
    compute_huber_weights,
    compute_mad_scale,
    compute_weighted_median,
)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_weighted_median_of_counts_equals_the_lower_median_of_all_observations(
    values: list[int], random: Random
) -> None:
    counts = [random.randint(1, 4) for _ in values]
    every = np.sort(np.repeat(values, counts))
    found = compute_weighted_median(np.array(values, np.float64), np.array(counts, np.float64))
    assert found == every[(len(every) - 1) // 2]


def test_mad_scale_estimates_the_standard_deviation_and_has_a_minimum() -> None:
    values = np.random.default_rng(0).normal(7, 3, 20_000)
    assert compute_mad_scale(values, 7) == pytest.approx(3, rel=0.03)
    assert compute_mad_scale(np.full(9, 7), 7) == 1
    assert compute_mad_scale(np.full(9, 7), 7, minimum=0.2) == 0.2


def test_biweight_mean_ignores_outliers() -> None:
    values, counts = np.array([-1.0, 0, 1, 2, 90]), np.array([10.0, 30, 30, 10, 40])
    mean, weight = compute_biweight_mean(values, counts, start=1.0)
    assert mean == pytest.approx(0.5, abs=0.01)
    assert weight > 0


def test_biweight_mean_weighs_more_with_more_observations_and_less_with_more_scatter() -> None:
    values, counts = np.arange(-3.0, 4), np.array([1.0, 2, 4, 6, 4, 2, 1])
    _, weight = compute_biweight_mean(values, counts, 0.0)
    assert compute_biweight_mean(values, 4 * counts, 0.0) == (pytest.approx(0), pytest.approx(2 * weight))
    assert compute_biweight_mean(5 * values, counts, 0.0)[1] < weight


def test_huber_weights_are_one_up_to_the_cutoff_and_fall_with_the_residual() -> None:
    weights = compute_huber_weights(np.array([0.0, 0.1, -0.1, 0.2, -4.0, 8.0]), min_cutoff=0.5)
    np.testing.assert_array_equal(weights[:4], 1)
    np.testing.assert_allclose(weights[4:], [0.125, 0.0625])
