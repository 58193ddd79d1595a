"""Land-cover networks by choice: composed from single networks, with heads that sum to certainty."""

from dataclasses import dataclass

import numpy as np
import pytest

from s2ops.config import NetworkChoice
from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.landcover_networks import average_probabilities, open_landcover_segmenter
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.protocols import Segmenter
from s2ops.inference.sliding_window import segment
from s2ops.models.registry import LANDCOVER, LANDCOVER_NETWORKS, NETWORKS, list_tasks
from tests.helpers.triton import build_ground_windows

CHOICES: tuple[NetworkChoice, ...] = ("separate", "shared", "both")


@pytest.fixture(scope="module")
def windows() -> UInt8:
    """Two windows of red, green, blue and nir; the second has a strip without data."""
    made = build_ground_windows(2, 4, 64)
    made[1, :, :, :5] = 0
    return made


def compose_separate(windows: UInt8) -> UInt8:
    """Run the networks of the paper by hand: red, green, blue, nir are bands 0 to 3 of a window."""
    parts = [
        open_segmenter("water").predict(windows[:, [3, 0, 1]]),
        open_segmenter("vegetation").predict(windows[:, [3, 0, 1]]),
        open_segmenter("building").predict(windows[:, :3]),
    ]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_has_the_bands_classes_and_window_of_the_shared_network(choice: NetworkChoice) -> None:
    made, shared = open_landcover_segmenter(choice, open_segmenter), NETWORKS[LANDCOVER]
    assert (made.bands, made.classes, made.window) == (shared.bands, shared.classes, shared.window)


def test_separate_networks_equal_the_networks_of_one_task(windows: UInt8) -> None:
    made = open_landcover_segmenter("separate", open_segmenter).predict(windows)
    np.testing.assert_array_equal(made, compose_separate(windows))


def test_shared_network_is_the_network_landcover(windows: UInt8) -> None:
    made = open_landcover_segmenter("shared", open_segmenter).predict(windows)
    np.testing.assert_array_equal(made, open_segmenter(LANDCOVER).predict(windows))


def test_both_is_the_mean_of_shared_and_separate_networks(windows: UInt8) -> None:
    made = open_landcover_segmenter("both", open_segmenter).predict(windows)
    parts = open_segmenter(LANDCOVER).predict(windows), compose_separate(windows)
    mean = (parts[0].astype(float) + parts[1]) / 2
    for task in list_tasks(LANDCOVER):
        claims = slice(task.classes.start + 1, task.classes.stop)
        np.testing.assert_array_equal(made[:, claims], np.floor(mean[:, claims]))
        np.testing.assert_array_equal(made[:, task.classes].sum(axis=1, dtype=int), 255)
        assert np.abs(made[:, task.classes.start] - mean[:, task.classes.start]).max() <= 2


def test_average_of_any_heads_sums_to_certainty() -> None:
    dice = np.random.default_rng(5)
    first, second = (draw_heads(dice) for _ in range(2))
    mean = average_probabilities(first, second)
    for task in list_tasks(LANDCOVER):
        assert (mean[:, task.classes].sum(axis=1, dtype=int) == 255).all()
        others = slice(task.classes.start + 1, task.classes.stop)
        np.testing.assert_array_equal(mean[:, others], (first[:, others].astype(int) + second[:, others]) // 2)


def draw_heads(dice: np.random.Generator) -> UInt8:
    """Draw probabilities (16, class, 8, 8) whose heads sum to 255."""
    out = np.empty((16, len(NETWORKS[LANDCOVER].classes), 8, 8), np.uint8)
    for task in list_tasks(LANDCOVER):
        count = task.classes.stop - task.classes.start
        cuts = np.sort(dice.integers(0, 256, (16, count - 1, 8, 8)), axis=1)
        ends = np.concatenate([np.zeros((16, 1, 8, 8), int), cuts, np.full((16, 1, 8, 8), 255)], axis=1)
        out[:, task.classes] = np.diff(ends, axis=1)
    return out


def test_sliding_window_over_both_networks_leaves_no_data_empty() -> None:
    image = build_ground_windows(1, 4, 96)[0]
    image[:, 40:50, 20:60] = 0
    probs = segment(open_landcover_segmenter("both", open_segmenter), image)
    empty = (image == 0).all(axis=0)
    assert (probs[:, empty] == 0).all()
    for task in list_tasks(LANDCOVER):
        assert np.abs(probs[task.classes][:, ~empty].sum(axis=0, dtype=int) - 255).max() <= 1


@dataclass(frozen=True)
class FakeNetwork:
    """Network that is opened but never run."""

    bands: tuple[str, ...]
    classes: tuple[str, ...]
    window: int

    def predict(self, windows: UInt8) -> UInt8:
        raise AssertionError(f"{len(windows)} windows were predicted")


def test_networks_with_different_windows_are_rejected() -> None:
    def open_fake(name: str) -> Segmenter:
        return FakeNetwork(NETWORKS[name].bands, NETWORKS[name].classes, 256 if name == "vegetation" else 512)

    with pytest.raises(ModelError, match=r"landcover 512, water 512, vegetation 256, building 512.*networks: shared"):
        open_landcover_segmenter("both", open_fake)
    assert open_landcover_segmenter("shared", open_fake).window == 512


def test_every_choice_names_networks_of_the_package() -> None:
    assert set(LANDCOVER_NETWORKS) == set(CHOICES)
    assert {name for names in LANDCOVER_NETWORKS.values() for name in names} <= set(NETWORKS)
