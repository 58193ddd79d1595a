"""The scorecard: figures by hand, intervals over places, drift that is noticed, a page that is not edited."""

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
    scorecard,
    single_network_comparison,
)
from s2ops.evaluation.accuracy import (
    Figure,
    Subject,
    auc,
    bins_of,
    calibration_error,
    confusion,
    curve,
    f1,
    iou,
    macro_f1,
    network_bins,
    resampled,
)
from s2ops.evaluation.reservoir_water import water
from s2ops.evaluation.scorecard import Card, Part, drift
from s2ops.evaluation.scorecard_page import page

DOCS = Path(__file__).parents[2] / "docs/reference"


def figure(value: float, **changes: object) -> Figure:
    given: dict[str, object] = {
        "network": "water", "data": "lakes", "method": "s2ops network", "score": "IoU water", "value": value,
        "low": None, "high": None, "pixels": 9, "units": "1 place", "seen": "held out",
    }  # fmt: skip
    return Figure.model_validate(given | changes)


def test_scores_by_hand() -> None:
    truth, found = np.array([0, 0, 1, 1, 255], np.uint8), np.array([0, 1, 1, 1, 0], np.uint8)
    table = confusion(truth, found, 2).astype(np.float64)
    assert table.tolist() == [[1, 1], [0, 2]]
    assert iou(1)(table) == pytest.approx(2 / 3)
    assert f1(1)(table) == pytest.approx(0.8)
    assert macro_f1(table) == pytest.approx((0.8 + 2 / 3) / 2)


def test_a_class_that_the_truth_lacks_has_no_f1_and_does_not_count() -> None:
    table = np.array([[3.0, 1.0], [0.0, 0.0]])
    assert np.isnan(f1(1)(table))
    assert macro_f1(table) == pytest.approx(6 / 7)


def test_intervals_come_from_places_and_not_from_pixels() -> None:
    good, bad = np.array([[90.0, 10.0], [10.0, 90.0]]), np.array([[50.0, 50.0], [50.0, 50.0]])
    few = resampled(np.stack([good, bad] * 2), macro_f1)
    many = resampled(np.stack([good, bad] * 50), macro_f1)
    assert few[0] == many[0] == pytest.approx(0.7)
    assert 0.5 <= few[1] < many[1] < 0.7 < many[2] < few[2] <= 0.9
    assert resampled(good[None], macro_f1)[1:] == (None, None)
    assert resampled(np.stack([good * 1000, bad * 1000] * 2), macro_f1) == few


def test_scores_that_are_not_defined_are_left_out() -> None:
    subject = Subject("water", "lakes", "s2ops network", "places")
    made = subject.of_tables([np.array([[4, 0], [0, 0]])] * 2, {"accuracy": lambda t: t[0, 0] / t.sum(), "F1": f1(1)})
    assert [(each.score, each.value, each.units, each.pixels) for each in made] == [("accuracy", 1.0, "2 places", 8)]


def test_calibration_error_is_the_distance_of_confidence_and_truth() -> None:
    confidence = np.array([0.95] * 10 + [0.65] * 10)
    right = np.array([True] * 9 + [False] + [True] * 3 + [False] * 7)
    bins = bins_of(confidence, right)
    assert calibration_error(bins) == pytest.approx(0.5 * 0.05 + 0.5 * 0.35)
    drawn = curve("water", "lakes", [bins, bins])
    assert drawn.share[6] == drawn.share[9] == 0.5
    assert drawn.right[6] == 0.3
    assert drawn.confidence[9] == 0.95


def test_pixels_without_truth_or_probabilities_do_not_count_for_calibration() -> None:
    probs = np.array([[[255, 51, 0, 0]], [[0, 204, 0, 255]]], np.uint8)
    bins = network_bins(probs, np.array([[0, 0, 1, 255]], np.uint8))
    assert bins[:, 0].sum() == 2
    assert bins[9].tolist() == [1, 1, 1]
    assert bins[8].tolist() == [1, 0.8, 0]


def test_auc_counts_ties_half() -> None:
    scores = np.zeros((2, 256))
    scores[0, [10, 200]] = 1
    scores[1, [200, 250]] = 1
    assert auc(scores) == pytest.approx(3.5 / 4)


def test_drift_names_other_weights_moved_figures_and_new_ones() -> None:
    part = Part(figures=(figure(0.90), figure(0.5, score="F1 water")), curves=())
    kept = Card(weights={"water": "a"}, full=part, quick=part)
    assert drift(kept, part, {"water": "a"}) == []
    moved = Part(figures=(figure(0.93), figure(0.49, score="F1 water"), figure(0.1, score="new")), curves=())
    assert drift(kept, moved, {"water": "b"}) == [
        "water: the scorecard is of other weights",
        "water, lakes, s2ops network, IoU water: 0.9300, in the scorecard 0.9000",
        "water, lakes, s2ops network, new: not in the scorecard",
    ]


def test_a_peer_that_is_installed_only_here_is_no_drift() -> None:
    part = Part(figures=(), curves=())
    now = Part(figures=(figure(0.9, method="ukis-csmask 1.0.0", seen="no training"),), curves=())
    assert drift(Card(weights={}, full=part, quick=part), now, {}) == []


def test_what_only_the_network_for_all_classes_can_say_is_kept_with_the_weights_that_said_it() -> None:
    claimed = figure(
        0.9, network="land cover", data=f"{single_network_comparison.TITLE} · simulated, 10 m", score="macro F1"
    )
    names = ("landcover", "water", "vegetation", "building")
    old = Card(
        weights={name: f"{name[0] * 8}ffff" for name in names},
        full=Part(figures=(figure(0.5), claimed), curves=()), quick=Part(figures=(), curves=()),
    )  # fmt: skip
    now = Part(figures=(figure(0.6),), curves=())
    assert scorecard.with_claim(now, old, old.weights).figures == (figure(0.6), claimed)
    kept = scorecard.with_claim(now, old, old.weights | {"water": "other"})
    assert kept.figures[1].weights == "landcover llllllll, water wwwwwwww, vegetation vvvvvvvv, building bbbbbbbb"
    assert "Of earlier weights: landcover llllllll, water wwwwwwww, vegetation vvvvvvvv, building" in page(
        kept.figures, kept.curves
    )
    again = scorecard.with_claim(now, Card(weights={}, full=kept, quick=now), dict.fromkeys(names, "third"))
    assert again.figures[1].weights == kept.figures[1].weights


def test_the_check_exits_1_on_drift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(figures=(figure(0.9),), curves=())
    scorecard.write(Card(weights=scorecard.weights(), full=part, quick=part), tmp_path)
    check = ["score", "--quick", "--check", str(tmp_path / "scorecard.json")]
    monkeypatch.setattr(scorecard, "run", lambda *_, **__: part)
    assert CliRunner().invoke(app, check).exit_code == 0
    monkeypatch.setattr(scorecard, "run", lambda *_, **__: Part(figures=(figure(0.8),), curves=()))
    drifted = CliRunner().invoke(app, check)
    assert drifted.exit_code == 1
    assert "drift: water, lakes, s2ops network, IoU water: 0.8000, in the scorecard 0.9000" in drifted.output


def test_what_is_no_scorecard_or_no_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"bad\.json is no scorecard \(weights: Field required"):
        scorecard.read(tmp_path / "bad.json")
    with pytest.raises(ConfigError, match=r"cannot read the scorecard .*nowhere\.json"):
        scorecard.read(tmp_path / "nowhere.json")
    with pytest.raises(ConfigError, match="has no boadella-series: give the folder of the real data"):
        scorecard.real.check_folder(tmp_path)


def test_the_committed_page_is_the_committed_figures_of_the_shipped_weights() -> None:
    committed = scorecard.read(DOCS / "scorecard.json")
    assert committed.weights == scorecard.weights()
    assert page(committed.full.figures, committed.full.curves) == (DOCS / "scorecard.md").read_text()


def test_a_series_is_the_same_each_time_and_of_one_ground() -> None:
    tile = fusion_ablation.a_tile(1, 10, 2, "mixed weather")
    truth, images = tile.place(2)
    again, images_again = fusion_ablation.a_tile(1, 10, 2, "mixed weather").place(2)
    np.testing.assert_array_equal(truth, again)
    np.testing.assert_array_equal(images[1], images_again[1])
    assert truth.shape == (256, 256)
    assert images[0].shape == (4, 256, 256)
    assert set(np.unique(truth)) <= {1, 2, 3, 4, 5, 6}
    assert (images[0] != images[1]).any()
    assert (tile.place(1)[0] != truth).any()


def test_where_no_date_is_clear_every_sky_has_clouds_over_the_places_that_are_judged() -> None:
    tile = fusion_ablation.a_tile(2, 10, 3, "never clear")
    least, most = fusion_ablation.NEVER_CLEAR
    assert all(least <= tile.cover(flight.sky) <= most for flight in tile.flights)
    assert tile.place(0)[1][0].shape == (4, 256, 256)


def test_what_was_not_classified_counts_as_wrong() -> None:
    truth = np.array([[1, 1, 2]], np.uint8)
    table = fusion_ablation._table(truth, np.array([[1, 0, 2]], np.uint8), truth > 0)
    assert table.shape == (7, 7)
    assert (table[0, 0], table[0, 6], table[1, 1]) == (1, 1, 1)
    assert macro_f1(table.astype(np.float64)) == pytest.approx((2 / 3 + 1) / 2)


def test_bright_blue_is_what_the_simplest_mask_calls_cloud() -> None:
    levels = np.full((4, 1, 2), 120, np.uint8)
    levels[2] = [[90, 200]]
    assert baseline_methods.bright_mask(levels).tolist() == [[0, 1]]


def test_the_shore_is_where_band_11_is_halfway_and_stays_open_where_it_should() -> None:
    lake = np.zeros((60, 60), bool)
    lake[:, :40] = True
    swir = np.full((60, 60), 0.2, np.float32)
    swir[:, :30], swir[:, 30] = 0.01, 0.08  # column 30 is two thirds water
    assert (water({"B11": swir}, lake, shore=True)[20] == (np.arange(60) < 31)).all()
    assert water({"B11": swir}, lake, shore=False)[20, 27:36].tolist() == [1, 1, 255, 255, 255, 255, 0, 0, 0]


def test_drawn_polygons_lie_where_they_were_drawn_and_each_is_one_unit() -> None:
    # 20 m pixels of the British grid around Exeter
    labels, numbers = polygon_references.polygons(
        "exeter", "EPSG:27700", Affine(20, 0, 288_000, 0, -20, 96_000), (400, 500)
    )
    assert set(labels) == set(polygon_references.CLASSES)
    assert numbers.dtype == np.uint16
    assert numbers.max() <= len(labels)
    assert len(np.unique(numbers)) > 0.9 * len(labels)
    assert (numbers > 0).sum() > 8000


def test_each_class_of_the_map_has_its_place_among_the_drawn_ones() -> None:
    found = [polygon_references.CLASSES[index] for index in polygon_references.OURS[1:]]
    assert found == ["water", "grass", "tree", "built", "built", "barren"]
    assert polygon_references.OURS[0] == polygon_references.NONE
    assert [polygon_references.CLASSES[polygon_references.DYNAMIC_WORLDS[code]] for code in (0, 1, 2, 6, 7)] == [
        "water", "tree", "grass", "built", "barren",
    ]  # fmt: skip


def test_clouds_of_a_peer_are_shown_as_they_come_and_grown_by_40_m(monkeypatch: pytest.MonkeyPatch) -> None:
    found = np.zeros((32, 32), np.uint8)
    found[:, 16:], found[10:13, 10:13] = 2, 1
    monkeypatch.setattr(baseline_methods, "csmask", lambda *_: found.copy())
    masks = dict(baseline_methods.csmasks(np.full((4, 32, 32), 90, np.uint8), 10))
    assert list(masks) == ["ukis-csmask 1.0.0", "ukis-csmask 1.0.0, clouds grown by 40 m"]
    plain, grown = masks.values()
    assert (plain == found).all()
    assert grown[11, 4:19].tolist() == [0, 0, *[1] * 11, 2, 2]
    monkeypatch.setattr(baseline_methods, "csmask", lambda *_: None)
    assert dict(baseline_methods.csmasks(np.full((4, 32, 32), 90, np.uint8), 10)) == {}


def test_published_models_that_are_not_installed_leave_no_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(published_models, "find_spec", lambda _: None)
    published_models._cloudless.cache_clear()
    bands = {band: np.ones((2, 3), np.float32) for band in (*published_models.CLOUDLESS_BANDS, "B03", "B06", "B07")}
    assert published_models.cloudless(bands) is None
    assert published_models.dynamic_world(tmp_path, bands) is None
    assert published_models.dynamic_world(tmp_path, {"B02": bands["B02"]}) is None
    published_models._cloudless.cache_clear()


def test_air_is_taken_off_the_bands_that_see_it_and_off_no_other() -> None:
    bands = {"B02": np.full((1, 1), 0.2, np.float32), "B11": np.full((1, 1), 0.2, np.float32)}
    near = eurosat_chips._near_l2a(bands)
    assert near["B02"][0, 0] < 0.2
    assert near["B11"][0, 0] == pytest.approx(0.2)


class Fixed:
    """A network that gives the same probabilities everywhere."""

    bands = ("red", "green", "blue", "nir")
    window = 512

    def __init__(self, *probs: int) -> None:
        self.classes = tuple("abcdefgh"[: len(probs)])
        self.probs = np.array(probs, np.uint8)

    def predict(self, windows: UInt8) -> UInt8:
        shape = (len(windows), len(self.probs), *windows.shape[2:])
        return np.broadcast_to(self.probs[None, :, None, None], shape).copy()


def test_three_networks_and_one_for_all_classes_answer_in_the_same_codes() -> None:
    three = [Fixed(255, 0), Fixed(0, 0, 255), Fixed(255, 0, 0)]
    shared = Fixed(255, 0, 255, 0, 0, 0, 255, 0)
    answers = list(
        single_network_comparison._answers(
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


def test_scoring_needs_no_torch() -> None:
    code = (
        "import sys, s2ops.evaluation.scorecard; sys.exit(bool({'torch', 'onnx', 'tensorflow'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
