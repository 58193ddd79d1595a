"""Set cover solver: as good as an integer program, and reproducible under a time limit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from s2ops.constants import Bool, Float64
from s2ops.selection.set_cover import CoverElements, merge_pixels, solve_set_cover
from tests.helpers.clear_stacks import draw_clear_stacks


def solve_with_highs(parts: CoverElements, cost: Float64, penalty: float, limit: int) -> float:
    """Compute the optimum of the integer program of docs/explanation/select.md with another solver."""
    rows, scenes = parts.seen.shape
    cover = LinearConstraint(np.hstack([parts.seen.astype(float), np.eye(rows)]), lb=1)
    size = LinearConstraint(np.r_[np.ones(scenes), np.zeros(rows)], ub=limit)
    return float(
        milp(
            np.r_[cost, penalty * parts.weight],
            integrality=np.r_[np.ones(scenes), np.zeros(rows)],
            bounds=Bounds(0, 1),
            constraints=[cover, size],
            options={"mip_rel_gap": 0.0},
        ).fun
    )


def solve_greedily(parts: CoverElements, cost: Float64, penalty: float, limit: int) -> float:
    """Compute the objective of the greedy heuristic: repeatedly add the scene with the highest value."""
    missed, objective = parts.weight.copy(), penalty * parts.weight.sum()
    for _ in range(limit):
        worth = penalty * (missed @ parts.seen) - cost
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        objective -= worth[best]
        missed[parts.seen[:, best]] = 0
    return float(objective)


def solve_by_date(parts: CoverElements, cost: Float64, penalty: float, limit: int) -> float:
    """Compute the objective of another heuristic: newest first, add each scene that is worth its cost."""
    missed, objective = parts.weight.copy(), penalty * parts.weight.sum()
    for scene in range(len(cost)):
        worth = penalty * (missed @ parts.seen[:, scene]) - cost[scene]
        if worth > 0 and limit:
            limit -= 1
            objective -= worth
            missed[parts.seen[:, scene]] = 0
    return float(objective)


@settings(deadline=None, max_examples=60)
@given(stack=draw_clear_stacks(), limit=st.integers(1, 9), penalty=st.sampled_from([1.5, 20.0, 2000.0]))
def test_solve_set_cover_equals_the_integer_program_and_is_never_worse_than_heuristics(
    stack: tuple[Bool, Float64], limit: int, penalty: float
) -> None:
    clear, cost = stack
    found, parts = solve_set_cover(clear, cost, penalty, limit, 20), merge_pixels(clear)
    missed = parts.weight[~parts.seen[:, found.selected].any(axis=1)].sum()
    assert found.proven
    assert found.selected.sum() <= limit
    assert found.objective == pytest.approx(cost[found.selected].sum() + penalty * missed)
    assert found.objective == pytest.approx(solve_with_highs(parts, cost, penalty, limit), abs=1e-4)
    assert found.objective <= solve_greedily(parts, cost, penalty, limit) + 1e-9
    assert found.objective <= solve_by_date(parts, cost, penalty, limit) + 1e-9


@given(stack=draw_clear_stacks())
def test_merge_pixels_contains_every_coverable_pixel_once(stack: tuple[Bool, Float64]) -> None:
    clear, _ = stack
    parts = merge_pixels(clear)
    assert parts.weight.sum() == pytest.approx(clear.any(axis=0).mean())
    np.testing.assert_allclose(parts.weight @ parts.seen, clear.mean(axis=(1, 2)))
    assert len(np.unique(parts.seen, axis=0)) == len(parts.seen)


def test_merge_pixels_accepts_more_than_64_scenes() -> None:
    clear = np.random.default_rng(5).random((150, 9, 11)) < 0.5
    parts = merge_pixels(clear)
    np.testing.assert_allclose(parts.weight @ parts.seen, clear.mean(axis=(1, 2)))


def test_solve_set_cover_returns_the_same_list_with_its_gap_at_the_time_limit() -> None:
    clear = np.random.default_rng(1).random((25, 30, 31)) < 0.5
    cost = 1 + np.arange(25) / 25
    hurried = solve_set_cover(clear, cost, 2000.0, 12, 1e-6)
    assert not hurried.proven
    assert 0 < hurried.lower_bound < hurried.objective
    full = solve_set_cover(clear, cost, 2000.0, 12, 20)
    assert full.proven
    assert hurried.lower_bound <= full.objective <= hurried.objective
    np.testing.assert_array_equal(solve_set_cover(clear, cost, 2000.0, 12, 1e-6).selected, hurried.selected)
