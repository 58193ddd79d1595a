"""Explanation of a scene selection: table, and contact sheet of previews with masks."""

from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from s2ops.constants import UInt8
from s2ops.errors import InputError
from s2ops.records import Candidate, Cost, Decision, LeftOut, SelectRecord
from s2ops.selection.explain import (
    DISPLAY_GAMMA,
    build_table,
    draw_mask_overlay,
    draw_previews,
    format_badge,
    format_headline,
    list_reasons,
    sort_candidates,
)


def make_candidate_record(name: str, decision: Decision, rank: int | None, day: int = 1) -> Candidate:
    return Candidate(
        id=name,
        datetime=f"2023-08-{day:02}T09:50:31+00:00",
        platform="sentinel-2a",
        catalog_cloud=12.5,
        preview="thumbnail",
        cloud=0.1,
        coverage=0.9,
        nodata=0.05,
        haze=0.25,
        cost=Cost(base=1, age=0.2, haze=0.5, total=1.7),
        gain=0.031,
        decision=decision,
        rank=rank,
        reason=f"because of {name}",
    )


def make_record(*candidates: Candidate) -> SelectRecord:
    return SelectRecord(
        tile="33TWL",
        start="2023-08-01",
        end="2023-08-31",
        target="2023-08-31",
        parameters={},
        preview_shape=(60, 70),
        candidates=candidates,
        selected=tuple(c.id for c in candidates if c.decision == "taken"),
        spares=tuple(c.id for c in candidates if c.decision == "spare"),
        coverable=0.99995,
        covered=0.9990,
        objective=4.0,
        lower_bound=3.0,
        gap=0.25,
        status="time limit",
        elements=17,
        left_out=(LeftOut(id="late", reason="91 % cloud"),),
        fingerprint="0" * 64,
    )


FOUR = (
    make_candidate_record("d", "left", None, 4),
    make_candidate_record("b", "taken", 2, 2),
    make_candidate_record("c", "spare", 1, 3),
    make_candidate_record("a", "taken", 1, 1),
)


def make_previews(count: int, height: int = 60, width: int = 70) -> UInt8:
    stack = np.zeros((count, 4, height, width), np.uint8)
    stack[:, 0], stack[:, 1], stack[:, 2] = 40, 80, 120
    return stack


def test_sort_candidates_puts_selected_first_then_fallbacks_then_rejected() -> None:
    assert [c.id for c in sort_candidates(make_record(*FOUR))] == ["a", "b", "c", "d"]
    assert [format_badge(c) for c in sort_candidates(make_record(*FOUR))] == [
        "selected 1",
        "selected 2",
        "fallback 1",
        "rejected",
    ]


def test_format_headline_states_coverage_and_proof() -> None:
    assert format_headline(make_record(*FOUR)) == (
        "2 of 4 scenes cover 99.90 % of the tile; all candidates together cover 100.00 % (time limit, gap 25.0 %)"
    )
    assert format_headline(make_record(*FOUR).model_copy(update={"status": "optimal"})).endswith("(proven optimal)")


def test_build_table_and_list_reasons_name_every_scene_and_reason() -> None:
    console = Console(width=220, record=True, file=StringIO())
    console.print(build_table(make_record(*FOUR)))
    text = console.export_text() + "\n".join(list_reasons(make_record(*FOUR)))
    for expected in ("because of a", "because of d", "selected 2", "fallback 1", "late", "91 % cloud", "1.70", "90.00"):
        assert expected in text
    assert text.index("because of a") < text.index("because of c") < text.index("because of d")


def test_draw_mask_overlay_tints_cloud_greys_no_data_and_keeps_the_hue_of_the_ground() -> None:
    preview = make_previews(1)[0]
    preview[3, 10:20, 5:9], preview[3, :, 60:] = 1, 255
    shown = draw_mask_overlay(preview)
    assert (shown.dtype, shown.shape) == (np.dtype(np.uint8), (60, 70, 3))
    ground = np.rint(255 * (np.array([40, 80, 120]) / 255) ** DISPLAY_GAMMA)
    np.testing.assert_array_equal(shown[40, 30], ground)
    np.testing.assert_allclose(shown[15, 6], ground + (np.array([226, 60, 48]) - ground) * 0.45, atol=1)
    np.testing.assert_array_equal(shown[30, 65], (225, 228, 232))


def test_draw_previews_places_each_preview_by_its_decision() -> None:
    stack = make_previews(4)
    stack[:, 0] = np.array([10, 60, 130, 250], np.uint8)[:, None, None]  # d, b, c, a
    page = np.asarray(draw_previews(make_record(*FOUR), stack))
    assert page.dtype == np.uint8
    colours = [draw_mask_overlay(stack[index])[30, 30] for index in (3, 1, 2, 0)]
    where = [np.argwhere((page == colour).all(axis=2)).min(axis=0)[::-1] for colour in colours]
    tops, lefts = [int(y) for _, y in where], [int(x) for x, _ in where]
    assert tops[0] == pytest.approx(tops[1], abs=30)
    assert lefts[0] < lefts[1] < lefts[2]
    assert tops[3] > tops[0] + 60
    assert lefts[3] == pytest.approx(lefts[0], abs=30)


def test_draw_previews_is_reproducible_and_works_without_candidates() -> None:
    shown = [draw_previews(make_record(*FOUR), make_previews(4)).tobytes() for _ in range(2)]
    assert shown[0] == shown[1]
    empty = draw_previews(make_record(), make_previews(0))
    assert min(empty.size) > 50


def test_draw_previews_raises_for_previews_of_another_run() -> None:
    with pytest.raises(
        InputError,
        match=r"33TWL: the record has 4 candidates, but the previews have the shape \(3, 4, 60, 70\); run select",
    ):
        draw_previews(make_record(*FOUR), make_previews(3))
