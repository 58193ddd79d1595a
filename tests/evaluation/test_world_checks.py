"""World checks: reference pixels, thresholds, and the gates of the shipped weights on real scenes."""

import os
from pathlib import Path

import numpy as np
import pytest

from s2ops.constants import UInt8
from s2ops.errors import ConfigError
from s2ops.evaluation import world_checks
from s2ops.evaluation.accuracy import Figure, iterate_blocks
from s2ops.evaluation.scorecard_page import render_page
from s2ops.evaluation.simulated_scenes import FigureCollection
from s2ops.evaluation.world_checks import main, score_world
from s2ops.evaluation.world_conditions import DUSK_REFLECTANCE, add_snow, simulate_dusk
from s2ops.evaluation.world_gates import GATES, WORLD, Gate, find_gate, find_missing_figures, format_checks
from s2ops.evaluation.world_ground import average_pixels
from s2ops.evaluation.world_maps import compute_indices, encode_reflectance, extract_largest_body
from s2ops.evaluation.world_shares import count_by_block
from s2ops.evaluation.world_stability import add_gains
from s2ops.imaging.classification_metrics import compute_overall_accuracy
from s2ops.imaging.tone_curve import invert_tone_curve

REAL = os.environ.get("S2OPS_REAL_DATA")


def make_figure(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(
        network=WORLD, data="Virginia, beach", method="s2ops classify", score="barren", value=value, low=low, high=high,
        pixels=1200, units="3 blocks", seen="seen",
    )  # fmt: skip


def make_image() -> UInt8:
    reflectance = np.random.default_rng(4).uniform(0.03, 0.3, (4, 70, 90)).astype(np.float32)
    return encode_reflectance(reflectance)


def test_shipped_weights_pass_the_gates_of_the_fields() -> None:
    """The command runs all checks in `make scorecard-check`; here is the shortest of them."""
    if REAL is None:
        pytest.skip("S2OPS_REAL_DATA is not set: the world checks need real scenes")
    tally = FigureCollection()
    score_world(tally, Path(REAL), only=["fields"])
    assert len(tally.figures) == 2
    below = [figure for figure in tally.figures if not find_gate(figure).is_within_gate(figure)]
    assert format_checks(below) == []


@pytest.mark.parametrize(("value", "code"), [(0.95, None), (0.1, 1)])
def test_command_fails_behind_a_gate(
    value: float, code: int | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def score(tally: FigureCollection, *_: object) -> None:
        tally.figures.append(make_figure(value))

    monkeypatch.setattr(world_checks, "score_world", score)
    monkeypatch.setattr("sys.argv", ["world_checks", "--data", str(tmp_path), "--only", "sand"])
    if code is None:
        main()
    else:
        with pytest.raises(SystemExit, match="1"):
            main()
    assert "Virginia, beach: barren" in capsys.readouterr().out


def test_gates_without_figures_are_found() -> None:
    missing = find_missing_figures([make_figure(0.9)])
    assert "Virginia, beach, barren" not in missing
    assert len(missing) == len(GATES) - 1


def test_gates_are_unique_and_not_stricter_than_their_targets() -> None:
    assert len({(gate.data, gate.score) for gate in GATES}) == len(GATES)
    for gate in GATES:
        if gate.target is not None and not gate.within_interval:
            assert (gate.gate >= gate.target) == gate.at_most or gate.gate == gate.target, gate


def test_gate_compares_at_least_and_at_most() -> None:
    least = Gate("sea", "water", target=0.9, gate=0.5)
    assert (least.is_met(make_figure(0.9)), least.is_met(make_figure(0.89))) == (True, False)
    assert (least.is_within_gate(make_figure(0.5)), least.is_within_gate(make_figure(0.49))) == (True, False)
    most = Gate("sea", "tree", target=0.1, gate=0.5, at_most=True)
    assert (most.is_met(make_figure(0.1)), most.is_met(make_figure(0.11))) == (True, False)
    assert (most.is_within_gate(make_figure(0.5)), most.is_within_gate(make_figure(0.51))) == (True, False)


def test_gate_within_interval_is_met_where_the_interval_reaches_the_target() -> None:
    gain = Gate("Exeter", "macro F1", target=0.0, gate=-1.0, within_interval=True)
    assert gain.is_met(make_figure(-0.01, -0.02, 0.01)) is True
    assert gain.is_met(make_figure(-0.03, -0.05, -0.01)) is False
    assert gain.is_met(make_figure(-0.01)) is False


def test_gate_without_target_has_no_status() -> None:
    told = Gate("land", "tree", target=None, gate=1.0, at_most=True)
    assert told.is_met(make_figure(0.5)) is None
    assert (told.format_target(), told.format_status(make_figure(0.5))) == ("-", "-")


def test_checks_are_formatted_with_target_gate_and_status() -> None:
    gate = find_gate(make_figure(1.0))
    met, below = format_checks([make_figure(0.99), make_figure(gate.gate - 0.01)])
    assert met.startswith(f"met         0.9900 (target >= {gate.target:g}, gate {gate.gate:g}) Virginia, beach: barren")
    assert below.startswith("BELOW GATE")


def test_scorecard_page_shows_target_and_status_of_the_world_checks() -> None:
    page = render_page([make_figure(0.99), make_figure(0.5, 0.4, 0.6)], [])
    assert "## World checks" in page
    assert "| Virginia, beach | barren | 0.990 | - | >= 0.9 | met | 1,200 | 3 blocks | seen |" in page
    assert "| Virginia, beach | barren | 0.500 | 0.400 to 0.600 | >= 0.9 | missed | 1,200 | 3 blocks | seen |" in page
    assert "World checks" not in render_page([], [])


def test_figure_without_gate_is_an_error() -> None:
    with pytest.raises(LookupError, match="No gate for Virginia, beach, unknown: add it to GATES"):
        find_gate(make_figure(1.0).model_copy(update={"score": "unknown"}))


def test_unknown_check_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Unknown world check: moon; choose from sea"):
        score_world(FigureCollection(), tmp_path, only=["moon"])


def test_missing_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no boadella-series; give their folder as --data"):
        score_world(FigureCollection(), tmp_path)


def test_command_prints_checks_and_rejects_unknown_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.argv", ["world_checks", "--data", str(tmp_path), "--only", "moon"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "Unknown world check: moon; choose from sea" in capsys.readouterr().err
    if REAL is not None:
        monkeypatch.setattr("sys.argv", ["world_checks", "--data", REAL, "--only", "fields"])
        main()
        assert "Belgium, fields while NDVI > 0.6: grass" in capsys.readouterr().out


def test_blocks_cover_each_reference_pixel_once() -> None:
    where = np.zeros((130, 70), np.bool_)
    where[3, 66], where[129, 1], where[128, 2] = True, True, True
    assert [(rows.start, columns.start) for rows, columns in iterate_blocks(where)] == [(0, 64), (128, 0)]
    hit = np.zeros_like(where)
    hit[129, 1], hit[0, 0] = True, True
    assert [count.tolist() for count in count_by_block(hit, where)] == [[0, 1], [1, 2]]


def test_indices_separate_water_and_plants() -> None:
    reflectance = np.array([[0.03, 0.04], [0.06, 0.06], [0.05, 0.03], [0.01, 0.4]], np.float32)[:, None]
    found = compute_indices(encode_reflectance(reflectance))
    assert found.ndvi[0].tolist() == pytest.approx([-0.5, 0.82], abs=0.05)
    assert found.ndwi[0].tolist() == pytest.approx([0.71, -0.74], abs=0.05)


def test_largest_body_is_one_connected_part() -> None:
    mask = np.zeros((6, 9), np.bool_)
    mask[0, :4], mask[3:5, 2:7] = True, True
    assert extract_largest_body(mask).sum() == 10
    assert not extract_largest_body(np.zeros((3, 2), np.bool_)).any()


def test_dusk_keeps_the_reflectance_between_its_bounds() -> None:
    reflectance = invert_tone_curve(simulate_dusk(make_image()))
    assert reflectance.min() == pytest.approx(DUSK_REFLECTANCE[0], abs=5e-4)
    assert reflectance.max() == pytest.approx(DUSK_REFLECTANCE[1], abs=5e-4)


def test_snow_covers_part_of_the_image_in_patches() -> None:
    image = make_image()
    snowy = add_snow(image)
    white = (invert_tone_curve(snowy) > 0.7).all(axis=0)
    assert 0.15 < white.mean() < 0.35
    assert 0.4 < (snowy == image).all(axis=0).mean() < 0.8


def test_averaged_pixels_have_the_mean_reflectance() -> None:
    image = make_image()
    coarse = average_pixels(image, 3)
    assert coarse.shape == (4, 23, 30)
    block = invert_tone_curve(image[:, 3:6, 6:9]).mean(axis=(1, 2))
    assert invert_tone_curve(coarse[:, 1, 2]).tolist() == pytest.approx(block.tolist(), abs=0.002)


def test_gain_is_the_score_of_all_dates_minus_that_of_the_best_date() -> None:
    tally = FigureCollection()
    fused = np.array([[[6, 4], [0, 0]], [[0, 0], [2, 8]]])
    good = np.array([[[8, 2], [0, 0]], [[0, 0], [2, 8]]])
    poor = np.array([[[1, 9], [0, 0]], [[0, 0], [9, 1]]])
    scores = {"overall accuracy": compute_overall_accuracy}
    add_gains(tally, "Exeter, four dates minus the best single date", "polygons", fused, [poor, good], scores)
    (figure,) = tally.figures
    assert (figure.value, figure.pixels, figure.units) == (-0.1, 20, "2 polygons")
