"""The shipped weights, and the engine that runs them in process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from obstore.store import LocalStore

from s2ops.acquisition.cloud_mask import scene_mask
from s2ops.constants import UInt8, UInt16
from s2ops.errors import ModelError
from s2ops.imaging.tone_curve import to_levels
from s2ops.inference.onnx import open_scorer, open_segmenter
from s2ops.inference.sliding_window import segment, segment_slabs
from s2ops.models import registry
from s2ops.models.registry import NETWORKS, WEIGHTS, find, tasks
from s2ops.simulate.training_patches import patch

REAL = os.environ.get("S2OPS_REAL_DATA")


def read_band(path: Path) -> UInt16:
    with rasterio.open(path) as raster:
        band: UInt16 = raster.read(1)
    return band


def scene(bands: int, height: int, width: int) -> UInt8:
    """Smooth ground with a bright blob: something to see for a network."""
    y, x = np.mgrid[:height, :width]
    base = 60 + 30 * np.sin(x / 17) * np.cos(y / 23)
    cloud = 140 * np.exp(-((x - width * 0.3) ** 2 + (y - height * 0.6) ** 2) / 900)
    image = np.stack([base + cloud + 8 * band for band in range(bands)])
    return np.clip(image, 1, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_shipped_weights_load_and_say_all_of_themselves(name: str) -> None:
    file = find(name)
    assert file.meta.name == name
    assert file.meta.classes == NETWORKS[name].classes
    assert file.meta.window == NETWORKS[name].window
    assert file.meta.width == 16
    assert file.meta.trained_on
    assert file.meta.licence == "Apache-2.0"
    assert len(file.sha256) == 64
    assert all(0 <= score <= 1 for score in file.meta.scores.values())
    assert len(file.meta.scores) >= 1


def test_all_weights_together_stay_below_60_megabytes() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.onnx")) < 60e6


def test_held_out_scores_reach_their_targets() -> None:
    assert find("scene-cloud").meta.scores["simulated-val: iou cloud"] >= 0.85
    assert find("preview-cloud").meta.scores["preview-val: iou cloud"] >= 0.85
    assert find("preview-haze").meta.scores["preview-val: auc"] >= 0.95


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "preview-haze"])
def test_probabilities_are_uint8_and_sum_to_certainty(name: str) -> None:
    network = open_segmenter(name)
    windows = scene(len(network.bands), 64, 96)[None]
    probs = network.predict(windows)
    assert probs.dtype == np.uint8
    assert probs.shape == (1, len(network.classes), 64, 96)
    for task in tasks(name):
        assert np.abs(probs[:, task.classes].sum(axis=1, dtype=int) - 255).max() <= 2


def test_one_thread_and_two_give_the_same_bytes() -> None:
    image = scene(4, 300, 1100)
    one, two = (segment(open_segmenter("scene-cloud", threads=threads), image) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_a_batch_is_its_windows_one_by_one() -> None:
    network = open_segmenter("water")
    windows = np.stack([scene(3, 64, 64), scene(3, 64, 64)[:, ::-1]])
    single = np.concatenate([network.predict(windows[:1]), network.predict(windows[1:])])
    np.testing.assert_array_equal(network.predict(windows), single)


def test_tiled_is_close_to_whole_and_slabs_are_the_whole_exactly() -> None:
    network, image = open_segmenter("scene-cloud", threads=2), scene(4, 640, 544)
    whole = network.predict(image[None])[0].astype(int)
    tiled = segment(network, image)
    slabs = [probs for _, _, probs in segment_slabs(network, lambda top, end: image[:, top:end], 640, 544)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=1), tiled)
    assert np.abs(tiled.astype(int) - whole).mean() < 2
    assert (tiled.argmax(axis=0) == whole.argmax(axis=0)).mean() > 0.99


@pytest.mark.parametrize("res", [10, 60, 120])
def test_clouds_of_a_simulated_scene_are_found(res: int) -> None:
    network = open_segmenter("scene-cloud", threads=2)
    hit = either = 0
    for seed in range(70_000_000, 70_000_006):  # far from training's seeds
        sample = patch(seed, 256, res)
        found, truth = segment(network, sample.image).argmax(axis=0) == 1, sample.mask == 1
        hit += int((found & truth).sum())
        either += int((found | truth).sum())
    assert hit / either > 0.8


@pytest.mark.skipif(REAL is None, reason="S2OPS_REAL_DATA is not set")
@pytest.mark.parametrize(
    "scene_id", ["S2A_33TWL_20230815_0_L2A", "S2B_33TWL_20230820_0_L2A", "S2B_33TWM_20230820_0_L2A"]
)
def test_real_scenes_that_training_never_saw_agree_with_esas_classification(scene_id: str) -> None:
    folder = Path(str(REAL)) / "zagreb-two-tiles" / "sentinel-2-l2a" / scene_id
    numbers = np.stack([read_band(folder / f"{band}.tif") for band in ("B04", "B03", "B02", "B08")])
    esa, valid = read_band(folder / "SCL.tif"), (numbers > 0).all(axis=0)
    mask = scene_mask(segment(open_segmenter("scene-cloud", threads=2), to_levels(numbers)), valid, 120)
    cloudy, ground = np.isin(esa, (8, 9, 10)), np.isin(esa, (4, 5, 6)) & valid
    assert cloudy[mask == 0].mean() < 0.02
    assert (mask[ground] == 1).mean() < 0.05


@pytest.mark.skipif(REAL is None, reason="S2OPS_REAL_DATA is not set")
def test_an_overcast_real_scene_is_mostly_cloud() -> None:
    folder = Path(str(REAL)) / "zagreb-two-tiles" / "sentinel-2-l2a" / "S2B_33TWL_20230810_0_L2A"
    numbers = np.stack([read_band(folder / f"{band}.tif") for band in ("B04", "B03", "B02", "B08")])
    probs = segment(open_segmenter("scene-cloud", threads=2), to_levels(numbers))
    assert (probs.argmax(axis=0) == 1).mean() > 0.5


def test_haze_is_one_probability_an_image() -> None:
    scorer = open_scorer("preview-haze")
    dark = np.full((3, 343, 343), 25, np.uint8)
    veiled = np.stack([np.full((343, 343), level, np.uint8) for level in (60, 75, 95)])
    scores = scorer.score(np.stack([dark, veiled]))
    assert scores.dtype == np.uint8
    assert scores.shape == (2,)
    assert scores[0] < 60
    assert scores[1] > 200


def test_wrong_bands_are_named() -> None:
    with pytest.raises(ModelError, match=r"takes \(n, 4, y, x\) with bands red, green, blue, nir.*\(1, 3, 64, 64\)"):
        open_segmenter("scene-cloud").predict(np.ones((1, 3, 64, 64), np.uint8))


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(ModelError, match="no network named 'clouds'; the networks are preview-cloud"):
        find("clouds")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read the weights .*water\.onnx: No such file.*set `models`"):
        find("water", str(tmp_path))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    (tmp_path / "water.onnx").write_bytes((WEIGHTS / "vegetation.onnx").read_bytes())
    with pytest.raises(ModelError, match="has name vegetation, but water needs water"):
        find("water", str(tmp_path))


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "water.onnx").write_bytes((WEIGHTS / "water.onnx").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"water\.onnx is no ONNX model that onnxruntime can load"):
        find("water", str(tmp_path))


def test_weights_are_found_by_file_uri(tmp_path: Path) -> None:
    (tmp_path / "water.onnx").write_bytes((WEIGHTS / "water.onnx").read_bytes())
    assert find("water", tmp_path.as_uri()).sha256 == find("water").sha256


def test_weights_are_fetched_from_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "water.onnx").write_bytes((WEIGHTS / "water.onnx").read_bytes())
    monkeypatch.setattr(registry, "from_url", lambda _: LocalStore(tmp_path))
    monkeypatch.setattr(registry.tempfile, "gettempdir", lambda: str(tmp_path / "cache"))
    file = find("water", "s3://bucket/models")
    assert file.sha256 == find("water").sha256
    assert file.path.is_relative_to(tmp_path / "cache")
    with pytest.raises(ModelError, match=r"s3://bucket/models holds no building\.onnx: put the weights there"):
        find("building", "s3://bucket/models")


def test_a_scorer_is_not_opened_as_a_segmenter_nor_the_other_way_round() -> None:
    with pytest.raises(ModelError, match="preview-haze gives one probability per image"):
        open_segmenter("preview-haze")
    with pytest.raises(ModelError, match="water labels pixels"):
        open_scorer("water")


def test_inference_needs_neither_torch_nor_onnx() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "import numpy as np; from s2ops.inference.onnx import open_segmenter\n"
        "open_segmenter('water').predict(np.ones((1, 3, 32, 32), np.uint8))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
