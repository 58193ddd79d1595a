"""Weights of the package, and the ONNX Runtime engine in this process."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from obstore.store import LocalStore

from s2ops.acquisition.cloud_mask import compute_scene_mask
from s2ops.constants import UInt8, UInt16
from s2ops.errors import ModelError
from s2ops.imaging.tone_curve import convert_dn_to_levels
from s2ops.inference.onnx import open_image_classifier, open_segmenter
from s2ops.inference.sliding_window import segment, segment_slabs
from s2ops.models import registry
from s2ops.models.registry import NETWORKS, PACKAGE_WEIGHTS, find_weights, list_tasks
from s2ops.simulate.training_patches import simulate_patch

REAL = os.environ.get("S2OPS_REAL_DATA")


def read_band(path: Path) -> UInt16:
    with rasterio.open(path) as raster:
        band: UInt16 = raster.read(1)
    return band


def build_scene(bands: int, height: int, width: int) -> UInt8:
    """Build smooth ground with a bright cloud: uint8 levels (band, y, x)."""
    y, x = np.mgrid[:height, :width]
    base = 60 + 30 * np.sin(x / 17) * np.cos(y / 23)
    cloud = 140 * np.exp(-((x - width * 0.3) ** 2 + (y - height * 0.6) ** 2) / 900)
    image = np.stack([base + cloud + 8 * band for band in range(bands)])
    return np.clip(image, 1, 255).astype(np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_package_weights_load_with_complete_metadata(name: str) -> None:
    file = find_weights(name)
    assert file.meta.name == name
    assert file.meta.classes == NETWORKS[name].classes
    assert file.meta.window == NETWORKS[name].window
    assert file.meta.width == 16
    assert file.meta.trained_on
    assert file.meta.licence == "Apache-2.0"
    assert len(file.sha256) == 64
    assert all(0 <= score <= 1 for score in file.meta.scores.values())
    assert len(file.meta.scores) >= 1


def test_package_weights_stay_below_60_megabytes() -> None:
    assert sum(path.stat().st_size for path in PACKAGE_WEIGHTS.glob("*.onnx")) < 60e6


def test_package_weights_reach_their_target_scores() -> None:
    assert find_weights("scene-cloud").meta.scores["simulated-val: iou cloud"] >= 0.85
    assert find_weights("preview-cloud").meta.scores["preview-val: iou cloud"] >= 0.85
    assert find_weights("preview-haze").meta.scores["preview-val: auc"] >= 0.95


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "preview-haze"])
def test_predict_returns_uint8_that_sum_to_certainty_per_head(name: str) -> None:
    network = open_segmenter(name)
    windows = build_scene(len(network.bands), 64, 96)[None]
    probs = network.predict(windows)
    assert probs.dtype == np.uint8
    assert probs.shape == (1, len(network.classes), 64, 96)
    for task in list_tasks(name):
        assert np.abs(probs[:, task.classes].sum(axis=1, dtype=int) - 255).max() <= 2


def test_segment_is_equal_with_one_thread_and_two() -> None:
    image = build_scene(4, 300, 1100)
    one, two = (segment(open_segmenter("scene-cloud", threads=threads), image) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_predict_of_a_batch_equals_single_windows() -> None:
    network = open_segmenter("water")
    windows = np.stack([build_scene(3, 64, 64), build_scene(3, 64, 64)[:, ::-1]])
    single = np.concatenate([network.predict(windows[:1]), network.predict(windows[1:])])
    np.testing.assert_array_equal(network.predict(windows), single)


def test_segment_is_close_to_the_whole_image_and_equals_its_slabs() -> None:
    network, image = open_segmenter("scene-cloud", threads=2), build_scene(4, 640, 544)
    whole = network.predict(image[None])[0].astype(int)
    tiled = segment(network, image)
    slabs = [probs for _, _, probs in segment_slabs(network, lambda top, end: image[:, top:end], 640, 544)]
    np.testing.assert_array_equal(np.concatenate(slabs, axis=1), tiled)
    assert np.abs(tiled.astype(int) - whole).mean() < 2
    assert (tiled.argmax(axis=0) == whole.argmax(axis=0)).mean() > 0.99


@pytest.mark.parametrize("res", [10, 60, 120])
def test_scene_cloud_network_finds_simulated_clouds(res: int) -> None:
    network = open_segmenter("scene-cloud", threads=2)
    hit = either = 0
    for seed in range(70_000_000, 70_000_006):  # no seed of the training data
        sample = simulate_patch(seed, 256, res)
        found, truth = segment(network, sample.image).argmax(axis=0) == 1, sample.mask == 1
        hit += int((found & truth).sum())
        either += int((found | truth).sum())
    assert hit / either > 0.8


@pytest.mark.skipif(REAL is None, reason="S2OPS_REAL_DATA is not set")
@pytest.mark.parametrize(
    "scene_id", ["S2A_33TWL_20230815_0_L2A", "S2B_33TWL_20230820_0_L2A", "S2B_33TWM_20230820_0_L2A"]
)
def test_scene_cloud_network_agrees_with_esa_on_unseen_real_scenes(scene_id: str) -> None:
    folder = Path(str(REAL)) / "zagreb-two-tiles" / "sentinel-2-l2a" / scene_id
    numbers = np.stack([read_band(folder / f"{band}.tif") for band in ("B04", "B03", "B02", "B08")])
    esa, valid = read_band(folder / "SCL.tif"), (numbers > 0).all(axis=0)
    mask = compute_scene_mask(
        segment(open_segmenter("scene-cloud", threads=2), convert_dn_to_levels(numbers)), valid, 120
    )
    cloudy, ground = np.isin(esa, (8, 9, 10)), np.isin(esa, (4, 5, 6)) & valid
    assert cloudy[mask == 0].mean() < 0.02
    assert (mask[ground] == 1).mean() < 0.05


@pytest.mark.skipif(REAL is None, reason="S2OPS_REAL_DATA is not set")
def test_scene_cloud_network_finds_an_overcast_scene_cloudy() -> None:
    folder = Path(str(REAL)) / "zagreb-two-tiles" / "sentinel-2-l2a" / "S2B_33TWL_20230810_0_L2A"
    numbers = np.stack([read_band(folder / f"{band}.tif") for band in ("B04", "B03", "B02", "B08")])
    probs = segment(open_segmenter("scene-cloud", threads=2), convert_dn_to_levels(numbers))
    assert (probs.argmax(axis=0) == 1).mean() > 0.5


def test_haze_classifier_returns_one_probability_per_image() -> None:
    classifier = open_image_classifier("preview-haze")
    dark = np.full((3, 343, 343), 25, np.uint8)
    veiled = np.stack([np.full((343, 343), level, np.uint8) for level in (60, 75, 95)])
    scores = classifier.score(np.stack([dark, veiled]))
    assert scores.dtype == np.uint8
    assert scores.shape == (2,)
    assert scores[0] < 60
    assert scores[1] > 200


def test_predict_names_the_expected_bands() -> None:
    with pytest.raises(
        ModelError,
        match=r"input for scene-cloud: .* \(1, 3, 64, 64\); pass \(n, 4, y, x\) with the bands red, green, blue, nir",
    ):
        open_segmenter("scene-cloud").predict(np.ones((1, 3, 64, 64), np.uint8))


def test_find_weights_names_an_unknown_network() -> None:
    with pytest.raises(ModelError, match="Unknown network: 'clouds'; choose one of preview-cloud"):
        find_weights("clouds")


def test_find_weights_names_missing_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"Cannot read the weights .*water\.onnx: No such file.*set `models`"):
        find_weights("water", str(tmp_path))


def test_find_weights_rejects_weights_of_another_network(tmp_path: Path) -> None:
    (tmp_path / "water.onnx").write_bytes((PACKAGE_WEIGHTS / "vegetation.onnx").read_bytes())
    with pytest.raises(ModelError, match="do not match network water: name is vegetation, expected water"):
        find_weights("water", str(tmp_path))


def test_find_weights_rejects_a_truncated_file(tmp_path: Path) -> None:
    (tmp_path / "water.onnx").write_bytes((PACKAGE_WEIGHTS / "water.onnx").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"Cannot load the weights .*water\.onnx: onnxruntime reports"):
        find_weights("water", str(tmp_path))


def test_find_weights_accepts_a_file_uri(tmp_path: Path) -> None:
    (tmp_path / "water.onnx").write_bytes((PACKAGE_WEIGHTS / "water.onnx").read_bytes())
    assert find_weights("water", tmp_path.as_uri()).sha256 == find_weights("water").sha256


def test_find_weights_downloads_from_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "water.onnx").write_bytes((PACKAGE_WEIGHTS / "water.onnx").read_bytes())
    monkeypatch.setattr(registry, "from_url", lambda _: LocalStore(tmp_path))
    monkeypatch.setattr(registry.tempfile, "gettempdir", lambda: str(tmp_path / "cache"))
    file = find_weights("water", "s3://bucket/models")
    assert file.sha256 == find_weights("water").sha256
    assert file.path.is_relative_to(tmp_path / "cache")
    with pytest.raises(ModelError, match=r"s3://bucket/models contains no building\.onnx; upload it there"):
        find_weights("building", "s3://bucket/models")


def test_open_rejects_a_network_of_the_other_kind() -> None:
    with pytest.raises(
        ModelError, match="Cannot open preview-haze as a segmenter: it computes one probability per image"
    ):
        open_segmenter("preview-haze")
    with pytest.raises(ModelError, match="Cannot open water as an image classifier: it segments images"):
        open_image_classifier("water")


def test_onnx_engine_needs_neither_torch_nor_onnx() -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['onnx'] = None\n"
        "import numpy as np; from s2ops.inference.onnx import open_segmenter\n"
        "open_segmenter('water').predict(np.ones((1, 3, 32, 32), np.uint8))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
