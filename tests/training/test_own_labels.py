"""Training with own labels, end to end: the documented commands change the land-cover map."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from typer.testing import CliRunner

from s2ops.cli.app import app
from s2ops.constants import LandCover, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve
from s2ops.models.registry import PACKAGE_WEIGHTS

SIDE_PX = 128


def write_raster(path: Path, data: UInt8) -> Path:
    path.parent.mkdir(exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE_PX, height=SIDE_PX, count=len(data), dtype="uint8", crs="EPSG:32633",
        transform=from_origin(500_000, 5_000_000, 10, 10),
    ) as out:  # fmt: skip
        out.write(data)
    return path


def make_place(seed: int) -> tuple[UInt8, UInt8]:
    """Make a meadow with a pond full of algae, which is green like no water of the shipped networks' training."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    pond = np.hypot(y - 64, x - 64) < rng.uniform(25, 40)
    meadow, algae = (np.array(one)[:, None, None] for one in ((0.05, 0.09, 0.05, 0.38), (0.12, 0.3, 0.1, 0.55)))
    ground = np.where(pond, algae, meadow) * rng.normal(1, 0.04, (4, SIDE_PX, SIDE_PX))
    return np.rint(apply_tone_curve(ground.astype(np.float32))).astype(np.uint8), np.where(pond, 1, 2).astype(np.uint8)


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_training_on_own_labels_changes_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed in range(3):
        levels, labels = make_place(seed)
        write_raster(tmp_path / "images" / f"place{seed}.tif", levels)
        write_raster(tmp_path / "labels" / f"place{seed}.tif", labels[None])
    config = tmp_path / "water-here.yaml"
    config.write_text(
        "folders:\n- images: images\n  labels: labels\n  classes: {1: water, 2: grass}\n  val: [place2]\n"
        f"trained_on: [our ponds]\nstart: {PACKAGE_WEIGHTS / 'water.onnx'}\n"
        "steps: 40\nbatch: 4\ncrop: 96\nlearning_rate: 0.002\n"
    )
    run("train", "water", "--config", config, "--out", "runs")
    run("models", "push", "models")
    run("models", "push", "models", "--from", "runs/water")
    image, pond = tmp_path / "images" / "place2.tif", make_place(2)[1] == 1
    found = {}
    for name, models in (("before", ()), ("after", ("--models", "models"))):
        run("classify", image, f"{name}.tif", "--networks", "separate", *models)
        with rasterio.open(f"{name}.tif") as src:
            found[name] = (src.read(1)[pond] == LandCover.WATER).mean()
    assert found["before"] < 0.1
    assert found["after"] > 0.9
