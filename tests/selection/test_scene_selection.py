"""The scene list: exact, explained, and the same whatever order the candidates come in."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from time import process_time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.optimize import Bounds, LinearConstraint, milp

from s2ops.catalog.scene import Scene
from s2ops.config import Selection
from s2ops.constants import Bool, Float64
from s2ops.errors import InputError
from s2ops.records import LeftOut, SelectRecord
from s2ops.selection.scene_selection import Choice, Look, Rule, candidate, choose
from s2ops.selection.set_cover import Elements, elements, minimum

START, END = date(2023, 6, 1), date(2023, 8, 30)
RULE = Rule(START, END, target=END, max_scenes=4, options=Selection(min_gain=0.05))


def look(name: str, clear: Bool, days_old: int = 0, haze: float = 0.0) -> Look:
    return Look(name, END - timedelta(days=days_old), haze, clear, np.ones_like(clear))


def columns(*seen: int, of: int = 10) -> Bool:
    """A 4-row tile of which the given columns are clear."""
    clear = np.zeros((4, of), bool)
    clear[:, list(seen)] = True
    return clear


def by_highs(parts: Elements, cost: Float64, penalty: float, limit: int) -> float:
    """Optimum of the integer program as written in docs/explanation/select.md, by another solver."""
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


def by_greed(parts: Elements, cost: Float64, penalty: float, limit: int) -> float:
    """Again and again the scene that is worth most; the usual rule of thumb."""
    missed, objective = parts.weight.copy(), penalty * parts.weight.sum()
    for _ in range(limit):
        worth = penalty * (missed @ parts.seen) - cost
        best = int(np.argmax(worth))
        if worth[best] <= 0:
            break
        objective -= worth[best]
        missed[parts.seen[:, best]] = 0
    return float(objective)


def by_date(parts: Elements, cost: Float64, penalty: float, limit: int) -> float:
    """Newest first, each scene that still brings what it costs."""
    missed, objective = parts.weight.copy(), penalty * parts.weight.sum()
    for scene in range(len(cost)):
        worth = penalty * (missed @ parts.seen[:, scene]) - cost[scene]
        if worth > 0 and limit:
            limit -= 1
            objective -= worth
            missed[parts.seen[:, scene]] = 0
    return float(objective)


@st.composite
def stacks(draw: st.DrawFn, least: int = 1) -> tuple[Bool, Float64]:
    """Clear masks (scene, y, x) of one or of seven words of pixels, and costs of a few scenes."""
    scenes = draw(st.integers(least, 9))
    shape = draw(st.sampled_from([(6, 7), (18, 23)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    clear = rng.random((scenes, *shape)) < rng.uniform(0.1, 0.9, (scenes, 1, 1))
    return clear, 1 + rng.integers(0, 30, scenes) / 10


def looks_of(stack: tuple[Bool, Float64]) -> list[Look]:
    return [look(f"S{i:02}", clear, days_old=7 * (i // 2)) for i, clear in enumerate(stack[0])]


@settings(deadline=None, max_examples=60)
@given(stack=stacks(), limit=st.integers(1, 9), penalty=st.sampled_from([1.5, 20.0, 2000.0]))
def test_the_list_is_as_good_as_the_integer_program_s_and_never_worse_than_rules_of_thumb(
    stack: tuple[Bool, Float64], limit: int, penalty: float
) -> None:
    clear, cost = stack
    found, parts = minimum(clear, cost, penalty, limit, 20), elements(clear)
    missed = parts.weight[~parts.seen[:, found.taken].any(axis=1)].sum()
    assert found.proven
    assert found.taken.sum() <= limit
    assert found.objective == pytest.approx(cost[found.taken].sum() + penalty * missed)
    assert found.objective == pytest.approx(by_highs(parts, cost, penalty, limit), abs=1e-4)
    assert found.objective <= by_greed(parts, cost, penalty, limit) + 1e-9
    assert found.objective <= by_date(parts, cost, penalty, limit) + 1e-9


@given(stack=stacks())
def test_elements_hold_every_pixel_that_some_scene_sees_once(stack: tuple[Bool, Float64]) -> None:
    clear, _ = stack
    parts = elements(clear)
    assert parts.weight.sum() == pytest.approx(clear.any(axis=0).mean())
    np.testing.assert_allclose(parts.weight @ parts.seen, clear.mean(axis=(1, 2)))
    assert len(np.unique(parts.seen, axis=0)) == len(parts.seen)


def test_more_than_64_scenes_merge_into_elements_as_fewer_do() -> None:
    clear = np.random.default_rng(5).random((150, 9, 11)) < 0.5
    parts = elements(clear)
    np.testing.assert_allclose(parts.weight @ parts.seen, clear.mean(axis=(1, 2)))


@settings(deadline=None, max_examples=40)
@given(stack=stacks(), seed=st.integers(0, 99))
def test_the_order_of_the_candidates_changes_nothing(stack: tuple[Bool, Float64], seed: int) -> None:
    looks = looks_of(stack)
    shuffled = [looks[i] for i in np.random.default_rng(seed).permutation(len(looks))]
    assert choose(shuffled, RULE) == choose(looks, RULE)


@settings(deadline=None, max_examples=40)
@given(stack=stacks(least=2))
def test_one_more_candidate_never_makes_the_tile_dearer(stack: tuple[Bool, Float64]) -> None:
    looks = looks_of(stack)

    def price(choice: Choice) -> float:
        return choice.objective + RULE.penalty(looks[0].clear.size) * (1 - choice.coverable)

    assert price(choose(looks, RULE)) <= price(choose(looks[:-1], RULE)) + 1e-9


@settings(deadline=None, max_examples=40)
@given(stack=stacks())
def test_a_scene_taken_brings_its_price_and_what_stays_uncovered_is_stated(
    stack: tuple[Bool, Float64],
) -> None:
    looks = looks_of(stack)
    choice = choose(looks, RULE)
    clear = {one.id: one.clear for one in looks}
    union = np.any([clear[name] for name in choice.selected], axis=0) if choice.selected else np.zeros(1)
    assert len(choice.selected) <= RULE.max_scenes
    assert choice.covered == pytest.approx(float(np.mean(union)))
    for verdict in choice.verdicts.values():
        price = RULE.options.min_gain * verdict.cost.total
        if verdict.decision == "taken":
            assert verdict.gain >= price - 1e-9
        elif len(choice.selected) < RULE.max_scenes:
            assert verdict.gain <= price + 1e-9


def test_min_gain_zero_covers_every_pixel_that_can_be_covered() -> None:
    lone = columns(0, 1, 2)
    lone[0, 9] = True
    rule = replace(RULE, options=Selection(min_gain=0))
    choice = choose([look("wide", columns(*range(9))), look("lone", lone, days_old=90, haze=1)], rule)
    assert choice.covered == choice.coverable
    assert choice.selected == ("wide", "lone")


def test_of_two_equal_scenes_the_newer_wins_and_the_older_is_a_spare_that_says_why() -> None:
    old, new = look("old", columns(*range(10)), days_old=45), look("new", columns(*range(10)), days_old=5)
    choice = choose([old, new], RULE)
    assert (choice.selected, choice.spares) == (("new",), ("old",))
    assert choice.verdicts["old"].reason == (
        "all that it sees clear is seen by new at a cost of 1.06, against 1.50; kept for holes at full resolution"
    )
    assert choice.verdicts["new"].reason == (
        "clear over 100.00 % of the tile, 100.00 % of it in no other scene taken, at a cost of 1.06"
    )


def test_haze_outweighs_a_few_weeks() -> None:
    hazy, older = look("hazy", columns(*range(10)), haze=0.9), look("older", columns(*range(10)), days_old=30)
    assert choose([hazy, older], RULE).selected == ("older",)


def test_two_swaths_with_opposite_no_data_wedges_cover_a_tile_together() -> None:
    left, right = columns(0, 1, 2, 3, 4, 5), columns(4, 5, 6, 7, 8, 9)
    looks = [Look("west", END, 0, left, left), Look("east", END, 0, right, right)]
    choice = choose(looks, RULE)
    assert set(choice.selected) == {"west", "east"}
    assert choice.covered == choice.coverable == pytest.approx(1.0)
    assert looks[0].nodata == pytest.approx(0.4)
    assert looks[0].cloud == 0.0


def test_the_scene_cap_is_kept_and_named() -> None:
    looks = [look(f"S{i}", columns(2 * i, 2 * i + 1)) for i in range(5)]
    choice = choose(looks, RULE)
    (fifth,) = (v for v in choice.verdicts.values() if v.decision == "spare")
    assert len(choice.selected) == 4
    assert choice.covered == pytest.approx(0.8)
    assert "would add 20.00 % of the tile, but the cap of 4 scenes is reached" in fifth.reason


def test_a_sliver_is_not_worth_a_scene() -> None:
    sliver = np.zeros((4, 10), bool)
    sliver[0, 9] = True
    choice = choose([look("wide", columns(*range(9))), look("sliver", sliver | columns(0, 1))], RULE)
    assert choice.selected == ("wide",)
    assert "adds 2.50 % of the tile, less than the 5.00 %" in choice.verdicts["sliver"].reason
    alone = choose([look("wide", columns(*range(9))), look("sliver", sliver)], RULE).verdicts["sliver"]
    assert (alone.decision, alone.rank) == ("left", None)
    assert alone.reason == "clear over 2.50 % of the tile only, less than 5.00 %"


def test_without_candidates_or_under_full_cloud_nothing_is_selected() -> None:
    none = choose([], RULE)
    assert (none.selected, none.status, none.gap, none.elements) == ((), "nothing to cover", 0.0, 0)
    cloudy = choose([look("a", columns()), look("b", columns())], RULE)
    assert (cloudy.selected, cloudy.spares, cloudy.coverable) == ((), (), 0.0)
    assert cloudy.status == "nothing to cover"
    assert cloudy.verdicts["a"].reason == "all cloud"
    outside = Look("c", END, 0, columns(), columns())
    assert choose([outside], RULE).verdicts["c"].reason == "no pixel of the tile lies in its swath"


def test_spares_fill_first_what_no_scene_covers_then_what_hangs_on_one() -> None:
    looks = [
        look("main", columns(0, 1, 2, 3, 4, 5, 6)),
        look("more", columns(5, 6, 7, 8)),
        look("again", columns(0, 1, 2), days_old=1),
        look("twice", columns(5, 6), days_old=1),
        look("gap", columns(9), days_old=2),
    ]
    choice = choose(looks, replace(RULE, max_scenes=2))
    assert choice.selected == ("main", "more")
    assert choice.spares == ("gap", "again", "twice")
    assert [choice.verdicts[name].rank for name in choice.spares] == [1, 2, 3]


def test_the_time_limit_leaves_a_list_with_its_gap_and_the_same_one_every_time() -> None:
    clear = np.random.default_rng(1).random((25, 30, 31)) < 0.5
    cost = 1 + np.arange(25) / 25
    hurried = minimum(clear, cost, 2000.0, 12, 1e-6)
    assert not hurried.proven
    assert 0 < hurried.lower_bound < hurried.objective
    full = minimum(clear, cost, 2000.0, 12, 20)
    assert full.proven
    assert hurried.lower_bound <= full.objective <= hurried.objective
    np.testing.assert_array_equal(minimum(clear, cost, 2000.0, 12, 1e-6).taken, hurried.taken)


def test_150_candidates_of_a_cloudy_year_are_solved_in_seconds() -> None:
    rng = np.random.default_rng(3)
    looks = []
    for i in range(150):
        field = sum(ndimage.gaussian_filter(rng.normal(size=(343, 343)), s) * s for s in (3, 12, 30))
        clear = field > np.quantile(field, rng.choice([0.05, 0.1, 0.2, 0.4, 0.6, 0.8]))
        looks.append(look(f"S{i:03}", clear, days_old=i % 90, haze=float(rng.random() > 0.8)))
    began = process_time()  # not the clock: other tests may run beside this one
    choice = choose(looks, replace(RULE, options=Selection(), max_scenes=12))
    took = process_time() - began
    assert choice.status == "optimal"
    assert choice.covered > 0.99
    assert took < 6, f"{took:.1f} s (1.3 s on an idle core)"


def test_masks_of_different_sizes_and_doubled_ids_are_refused() -> None:
    with pytest.raises(InputError, match=r"b: masks of \(4, 8\).*put all previews on one grid"):
        choose([look("a", columns(1)), look("b", columns(1, of=8), days_old=1)], RULE)
    with pytest.raises(InputError, match="a is a candidate twice"):
        choose([look("a", columns(1)), look("a", columns(2))], RULE)


def any_record(looks: list[Look]) -> SelectRecord:
    choice = choose(looks, RULE)
    scenes = [
        Scene(one.id, "33TWL", datetime(2023, 8, 15, 9, 50, 31, tzinfo=UTC), "sentinel-2a", 12.5, (), None, 0, "05.09")
        for one in looks
    ]
    return SelectRecord(
        tile="33TWL",
        start="2023-06-01",
        end="2023-08-30",
        target="2023-08-30",
        parameters={"recency": 1.0, "max_scenes": 4},
        preview_shape=(4, 10),
        candidates=tuple(
            candidate(scene, one, choice.verdicts[one.id], "bands") for scene, one in zip(scenes, looks, strict=True)
        ),
        selected=choice.selected,
        spares=choice.spares,
        coverable=choice.coverable,
        covered=choice.covered,
        objective=choice.objective,
        lower_bound=choice.lower_bound,
        gap=choice.gap,
        status=choice.status,
        elements=choice.elements,
        left_out=(LeftOut(id="S9", reason="91 % cloud, above 80 %"),),
        fingerprint="0" * 64,
    )


def test_a_record_survives_writing_and_reading_byte_by_byte() -> None:
    record = any_record([look("a", columns(1, 2, 3)), look("b", columns(3, 4), haze=1 / 3)])
    data = record.write()
    again = SelectRecord.read(data, "select/33TWL.json")
    assert again == record
    assert again.write() == data
    assert again.candidate("b").haze == 0.333333
    assert again.candidate("b").date == "2023-08-15"
    with pytest.raises(InputError, match="33TWL: c is no candidate; there are: a, b"):
        again.candidate("c")


def test_a_broken_record_names_its_key_and_the_field() -> None:
    with pytest.raises(InputError, match=r"select/33TWL.json is not a SelectRecord: .*delete it and run"):
        SelectRecord.read(b'{"tile": "33TWL"', "select/33TWL.json")
    data = any_record([look("a", columns(1))]).write().replace(b'"covered": 0.1', b'"covered": 1.1')
    with pytest.raises(InputError, match=r"covered: Input should be less than or equal to 1"):
        SelectRecord.read(data, "select/33TWL.json")
