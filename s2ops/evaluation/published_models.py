"""Published models on the same pixels, where their packages are installed: s2cloudless and Dynamic World.

Neither is a dependency. s2cloudless 1.7.3 (CC BY-SA 4.0) needs lightgbm and ten L1C bands; Dynamic World (Apache-2.0;
Brown et al. 2022) needs tensorflow, its SavedModel and nine bands.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from s2ops.constants import Float32, UInt8
from s2ops.training.datasets.teacher_models import DYNAMIC_WORLD_BANDS, LOG_RANGE

CLOUDLESS: Final = "s2cloudless 1.7.3"
CLOUDLESS_BANDS: Final = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
CLOUDLESS_THRESHOLD: Final = 0.4

DYNAMIC_WORLD: Final = "Dynamic World"
CROPS: Final = 4
"""Class of Dynamic World that is green or bare with the season."""


@cache
def _cloudless() -> Any:
    """The package's pixel classifier, or None."""
    found = find_spec("s2cloudless")
    if found is None or found.origin is None or find_spec("lightgbm") is None:
        return None
    file = Path(found.origin).parent / "models" / "pixel_s2_cloud_detector_lightGBM_v0.1.txt"
    return import_module("lightgbm").Booster(model_file=str(file))


def cloudless(bands: dict[str, Float32]) -> UInt8 | None:
    """(y, x) 1 cloud, 0 clear from L1C reflectance, pixel by pixel; None where it cannot run."""
    model = _cloudless()
    if model is None or any(band not in bands for band in CLOUDLESS_BANDS):
        return None
    pixels = np.stack([bands[band].ravel() for band in CLOUDLESS_BANDS], axis=1).astype(np.float64)
    probs = np.asarray(model.predict(pixels, num_threads=1))
    return (probs > CLOUDLESS_THRESHOLD).astype(np.uint8).reshape(bands["B02"].shape)


@cache
def _dynamic_world(root: Path) -> Any:
    if find_spec("tensorflow") is None:
        return None
    return import_module("tensorflow").saved_model.load(str(root / "dynamicworld-model" / "forward"))


def dynamic_world(root: Path, bands: dict[str, Float32]) -> UInt8 | None:
    """(y, x) the most probable of its classes, from L2A reflectance; None where it cannot run.

    0 water, 1 trees, 2 grass, 3 flooded vegetation, 4 crops, 5 shrub, 6 built, 7 bare, 8 snow. `root` is the folder of
    the real data.
    """
    if any(band not in bands for band in DYNAMIC_WORLD_BANDS):
        return None
    model = _dynamic_world(root)
    if model is None:
        return None
    numbers = np.stack([bands[band] for band in DYNAMIC_WORLD_BANDS], axis=-1) * np.float32(10_000)
    scaled = (np.log(numbers * np.float32(0.005) + 1) - LOG_RANGE[:, 0]) / LOG_RANGE[:, 1]
    image = (1 / (1 + np.exp(1 - 5 * scaled))).astype(np.float32)
    height, width = image.shape[:2]
    image = np.pad(image, ((0, -height % 32), (0, -width % 32), (0, 0)), mode="reflect")
    logits = np.asarray(model(import_module("tensorflow").constant(image[None])))[0, :height, :width]
    best: UInt8 = logits.argmax(axis=-1).astype(np.uint8)
    return best
