"""Scorecard: scores, bootstrap intervals, calibration, reference data, drift check, page."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from typer.testing import CliRunner

from s2ops.cli.app import app
from s2ops.constants import UInt8
from s2ops.errors import ConfigError
from s2ops.evaluation import (
    baseline_methods,
    eurosat_chips,
    fusion_ablation,
    polygon_references,
    published_models,
    real_scenes,
    scorecard,
    single_network_comparison,
)
from s2ops.evaluation.accuracy import (
    Figure,
    Subject,
    build_f1_score,
    build_iou_score,
    build_reliability_curve,
    compute_calibration_error,
    count_by_confidence,
    count_probs_by_confidence,
    estimate_interval,
)
from s2ops.evaluation.reservoir_water import map_reference_water
from s2ops.evaluation.scorecard import Scorecard, ScorecardPart, find_drift
from s2ops.evaluation.scorecard_page import render_page
from s2ops.imaging.classification_metrics import compute_macro_f1

DOCS = Path(__file__).parents[2] / "docs/reference"


def make_figure(value: float, **changes: object) -> Figure:
    given: dict[str, object] = {
        "network": "water", "data": "lakes", "method": "s2ops network", "score": "IoU water", "value": value,
        "low": None, "high": None, "pixels": 9, "units": "1 place", "seen": "held out",
    }  # fmt: skip
    return Figure.model_validate(given | changes)


def test_class_scores_equal_those_computed_by_hand() -> None:
    table = np.array([[1.0, 1.0], [0.0, 2.0]])
    assert build_iou_score(1)(table) == pytest.approx(2 / 3)
    assert build_f1_score(1)(table) == pytest.approx(0.8)


def test_f1_score_is_not_defined_for_a_class_that_the_truth_lacks() -> None:
    assert np.isnan(build_f1_score(1)(np.array([[3.0, 1.0], [0.0, 0.0]])))


def test_intervals_depend_on_the_number_of_places_and_not_of_pixels() -> None:
    good, bad = np.array([[90.0, 10.0], [10.0, 90.0]]), np.array([[50.0, 50.0], [50.0, 50.0]])
    few = estimate_interval(np.stack([good, bad] * 2), compute_macro_f1)
    many = estimate_interval(np.stack([good, bad] * 50), compute_macro_f1)
    assert few[0] == many[0] == pytest.approx(0.7)
    assert 0.5 <= few[1] < many[1] < 0.7 < many[2] < few[2] <= 0.9
    assert estimate_interval(good[None], compute_macro_f1)[1:] == (None, None)
    assert estimate_interval(np.stack([good * 1000, bad * 1000] * 2), compute_macro_f1) == few


def test_score_tables_leaves_out_undefined_scores() -> None:
    subject = Subject("water", "lakes", "s2ops network", "places")
    made = subject.score_tables(
        [np.array([[4, 0], [0, 0]])] * 2, {"accuracy": lambda t: t[0, 0] / t.sum(), "F1": build_f1_score(1)}
    )
    assert [(each.score, each.value, each.units, each.pixels) for each in made] == [("accuracy", 1.0, "2 places", 8)]


def test_calibration_error_is_the_mean_distance_of_confidence_and_accuracy() -> None:
    confidence = np.array([0.95] * 10 + [0.65] * 10)
    right = np.array([True] * 9 + [False] + [True] * 3 + [False] * 7)
    bins = count_by_confidence(confidence, right)
    assert compute_calibration_error(bins) == pytest.approx(0.5 * 0.05 + 0.5 * 0.35)
    drawn = build_reliability_curve("water", "lakes", [bins, bins])
    assert drawn.share[6] == drawn.share[9] == 0.5
    assert drawn.right[6] == 0.3
    assert drawn.confidence[9] == 0.95


def test_calibration_counts_only_pixels_with_truth_and_probabilities() -> None:
    probs = np.array([[[255, 51, 0, 0]], [[0, 204, 0, 255]]], np.uint8)
    bins = count_probs_by_confidence(probs, np.array([[0, 0, 1, 255]], np.uint8))
    assert bins[:, 0].sum() == 2
    assert bins[9].tolist() == [1, 1, 1]
    assert bins[8].tolist() == [1, 0.8, 0]


def test_drift_lists_other_weights_moved_figures_and_new_figures() -> None:
    part = ScorecardPart(figures=(make_figure(0.90), make_figure(0.5, score="F1 water")), curves=())
    kept = Scorecard(weights={"water": "a"}, full=part, quick=part)
    assert find_drift(kept, part, {"water": "a"}) == []
    moved = ScorecardPart(
        figures=(make_figure(0.93), make_figure(0.49, score="F1 water"), make_figure(0.1, score="new")), curves=()
    )
    assert find_drift(kept, moved, {"water": "b"}) == [
        "water: the scorecard is of other weights",
        "water, lakes, s2ops network, IoU water: 0.9300, in the scorecard 0.9000",
        "water, lakes, s2ops network, new: not in the scorecard",
    ]


def test_drift_ignores_figures_of_a_package_that_is_installed_only_here() -> None:
    part = ScorecardPart(figures=(), curves=())
    now = ScorecardPart(figures=(make_figure(0.9, method="ukis-csmask 1.0.0", seen="no training"),), curves=())
    assert find_drift(Scorecard(weights={}, full=part, quick=part), now, {}) == []


def test_network_comparison_is_kept_and_names_the_weights_it_was_made_with() -> None:
    claimed = make_figure(
        0.9, network="land cover", data=f"{single_network_comparison.TITLE} · simulated, 10 m", score="macro F1"
    )
    names = ("landcover", "water", "vegetation", "building")
    old = Scorecard(
        weights={name: f"{name[0] * 8}ffff" for name in names},
        full=ScorecardPart(figures=(make_figure(0.5), claimed), curves=()), quick=ScorecardPart(figures=(), curves=()),
    )  # fmt: skip
    now = ScorecardPart(figures=(make_figure(0.6),), curves=())
    assert scorecard.keep_network_comparison(now, old, old.weights).figures == (make_figure(0.6), claimed)
    kept = scorecard.keep_network_comparison(now, old, old.weights | {"water": "other"})
    assert kept.figures[1].weights == "landcover llllllll, water wwwwwwww, vegetation vvvvvvvv, building bbbbbbbb"
    assert "Of earlier weights: landcover llllllll, water wwwwwwww, vegetation vvvvvvvv, building" in render_page(
        kept.figures, kept.curves
    )
    again = scorecard.keep_network_comparison(
        now, Scorecard(weights={}, full=kept, quick=now), dict.fromkeys(names, "third")
    )
    assert again.figures[1].weights == kept.figures[1].weights


def test_score_check_exits_1_on_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = ScorecardPart(figures=(make_figure(0.9),), curves=())
    scorecard.write_scorecard(Scorecard(weights=scorecard.hash_weights(), full=part, quick=part), tmp_path)
    check = ["score", "--quick", "--check", str(tmp_path / "scorecard.json")]
    monkeypatch.setattr(scorecard, "run_scorecard", lambda *_, **__: part)
    assert CliRunner().invoke(app, check).exit_code == 0
    monkeypatch.setattr(
        scorecard, "run_scorecard", lambda *_, **__: ScorecardPart(figures=(make_figure(0.8),), curves=())
    )
    drifted = CliRunner().invoke(app, check)
    assert drifted.exit_code == 1
    assert "drift: water, lakes, s2ops network, IoU water: 0.8000, in the scorecard 0.9000" in drifted.output


def test_scorecard_errors_name_the_broken_file_and_the_missing_data(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"bad\.json is not a valid scorecard: weights: Field required"):
        scorecard.read_scorecard(tmp_path / "bad.json")
    with pytest.raises(ConfigError, match=r"Cannot read the scorecard .*nowhere\.json"):
        scorecard.read_scorecard(tmp_path / "nowhere.json")
    with pytest.raises(ConfigError, match="has no boadella-series; give their folder as --data"):
        real_scenes.check_folder(tmp_path)


def test_committed_scorecard_page_equals_the_committed_figures_of_the_shipped_weights() -> None:
    committed = scorecard.read_scorecard(DOCS / "scorecard.json")
    assert committed.weights == scorecard.hash_weights()
    assert render_page(committed.full.figures, committed.full.curves) == (DOCS / "scorecard.md").read_text()


def test_simulated_series_is_reproducible_and_has_one_ground() -> None:
    tile = fusion_ablation.make_tile(1, 10, 2, "mixed weather")
    truth, images = tile.simulate_place(2)
    again, images_again = fusion_ablation.make_tile(1, 10, 2, "mixed weather").simulate_place(2)
    np.testing.assert_array_equal(truth, again)
    np.testing.assert_array_equal(images[1], images_again[1])
    assert truth.shape == (256, 256)
    assert images[0].shape == (4, 256, 256)
    assert set(np.unique(truth)) <= {1, 2, 3, 4, 5, 6}
    assert (images[0] != images[1]).any()
    assert (tile.simulate_place(1)[0] != truth).any()


def test_never_clear_series_has_clouds_over_the_scored_places_on_every_date() -> None:
    tile = fusion_ablation.make_tile(2, 10, 3, "never clear")
    least, most = fusion_ablation.NEVER_CLEAR
    assert all(least <= tile.measure_cloud_cover(flight.sky) <= most for flight in tile.flights)
    assert tile.simulate_place(0)[1][0].shape == (4, 256, 256)


def test_unclassified_pixels_count_as_wrong() -> None:
    truth = np.array([[1, 1, 2]], np.uint8)
    table = fusion_ablation.count_table(truth, np.array([[1, 0, 2]], np.uint8), truth > 0)
    assert table.shape == (7, 7)
    assert (table[0, 0], table[0, 6], table[1, 1]) == (1, 1, 1)
    assert compute_macro_f1(table.astype(np.float64)) == pytest.approx((2 / 3 + 1) / 2)


def test_bright_blue_mask_marks_bright_pixels_as_cloud() -> None:
    levels = np.full((4, 1, 2), 120, np.uint8)
    levels[2] = [[90, 200]]
    assert baseline_methods.mask_bright_blue(levels).tolist() == [[0, 1]]


def test_reference_shore_lies_where_band_11_is_halfway_and_is_unknown_on_demand() -> None:
    lake = np.zeros((60, 60), bool)
    lake[:, :40] = True
    swir = np.full((60, 60), 0.2, np.float32)
    swir[:, :30], swir[:, 30] = 0.01, 0.08  # column 30 is two thirds water
    assert (map_reference_water({"B11": swir}, lake, shore=True)[20] == (np.arange(60) < 31)).all()
    assert map_reference_water({"B11": swir}, lake, shore=False)[20, 27:36].tolist() == [
        1,
        1,
        255,
        255,
        255,
        255,
        0,
        0,
        0,
    ]


def test_reference_polygons_lie_where_they_were_drawn_and_each_is_one_unit() -> None:
    # 20 m pixels of the British grid around Exeter
    labels, numbers = polygon_references.rasterize_polygons(
        "exeter", "EPSG:27700", Affine(20, 0, 288_000, 0, -20, 96_000), (400, 500)
    )
    assert set(labels) == set(polygon_references.CLASSES)
    assert numbers.dtype == np.uint16
    assert numbers.max() <= len(labels)
    assert len(np.unique(numbers)) > 0.9 * len(labels)
    assert (numbers > 0).sum() > 8000


def test_map_classes_match_the_classes_of_the_reference_polygons() -> None:
    found = [polygon_references.CLASSES[index] for index in polygon_references.LAND_COVER_INDEX[1:]]
    assert found == ["water", "grass", "tree", "built", "built", "barren"]
    assert polygon_references.LAND_COVER_INDEX[0] == polygon_references.OTHER_CLASS
    assert [polygon_references.CLASSES[polygon_references.DYNAMIC_WORLD_INDEX[code]] for code in (0, 1, 2, 6, 7)] == [
        "water", "tree", "grass", "built", "barren",
    ]  # fmt: skip


def test_csmask_is_scored_as_published_and_dilated_by_40_m(monkeypatch: pytest.MonkeyPatch) -> None:
    found = np.zeros((32, 32), np.uint8)
    found[:, 16:], found[10:13, 10:13] = 2, 1
    monkeypatch.setattr(baseline_methods, "mask_with_csmask", lambda *_: found.copy())
    masks = dict(baseline_methods.iterate_csmask_variants(np.full((4, 32, 32), 90, np.uint8), 10))
    assert list(masks) == ["ukis-csmask 1.0.0", "ukis-csmask 1.0.0, clouds grown by 40 m"]
    plain, grown = masks.values()
    assert (plain == found).all()
    assert grown[11, 4:19].tolist() == [0, 0, *[1] * 11, 2, 2]
    monkeypatch.setattr(baseline_methods, "mask_with_csmask", lambda *_: None)
    assert dict(baseline_methods.iterate_csmask_variants(np.full((4, 32, 32), 90, np.uint8), 10)) == {}


def test_published_models_return_none_if_they_are_not_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(published_models, "find_spec", lambda _: None)
    published_models.load_s2cloudless.cache_clear()
    bands = {band: np.ones((2, 3), np.float32) for band in (*published_models.S2CLOUDLESS_BANDS, "B03", "B06", "B07")}
    assert published_models.mask_with_s2cloudless(bands) is None
    assert published_models.classify_with_dynamic_world(tmp_path, bands) is None
    assert published_models.classify_with_dynamic_world(tmp_path, {"B02": bands["B02"]}) is None
    published_models.load_s2cloudless.cache_clear()


def test_l2a_approximation_subtracts_clean_air_from_the_visible_bands_only() -> None:
    bands = {"B02": np.full((1, 1), 0.2, np.float32), "B11": np.full((1, 1), 0.2, np.float32)}
    near = eurosat_chips.approximate_l2a(bands)
    assert near["B02"][0, 0] < 0.2
    assert near["B11"][0, 0] == pytest.approx(0.2)


class Fixed:
    """Network with the same probabilities everywhere."""

    bands = ("red", "green", "blue", "nir")
    window = 512

    def __init__(self, *probs: int) -> None:
        self.classes = tuple("abcdefgh"[: len(probs)])
        self.probs = np.array(probs, np.uint8)

    def predict(self, windows: UInt8) -> UInt8:
        shape = (len(windows), len(self.probs), *windows.shape[2:])
        return np.broadcast_to(self.probs[None, :, None, None], shape).copy()


def test_network_comparison_maps_all_networks_to_the_same_codes() -> None:
    three = [Fixed(255, 0), Fixed(0, 0, 255), Fixed(255, 0, 0)]
    shared = Fixed(255, 0, 255, 0, 0, 0, 255, 0)
    answers = list(
        single_network_comparison.iterate_answers(
            three, shared, Fixed(0, 0, 0, 0, 204, 51), np.full((4, 32, 32), 90, np.uint8)
        )
    )
    found = [(name, int(codes[0, 0])) for name, codes, _ in answers]
    assert found == [
        (single_network_comparison.THREE, 2),
        (single_network_comparison.SHARED, 3),
        (single_network_comparison.SINGLE, 4),
    ]
    assert answers[2][2][0, 0] == pytest.approx(0.8)
    assert min(answers[0][2][0, 0], answers[1][2][0, 0]) > 0.98


def test_scorecard_imports_neither_torch_nor_tensorflow() -> None:
    code = (
        "import sys, s2ops.evaluation.scorecard; sys.exit(bool({'torch', 'onnx', 'tensorflow'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
