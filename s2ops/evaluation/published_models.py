"""Published models for comparison on the same pixels: s2cloudless (clouds) and Dynamic World (land cover).

Both are optional and not dependencies. s2cloudless 1.7.3 (CC BY-SA 4.0) needs lightgbm and ten L1C bands. Dynamic World
(Apache-2.0; Brown et al. 2022) needs tensorflow, its SavedModel and nine bands.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from s2ops.constants import Float32, UInt8
from s2ops.training.datasets.teacher_models import DYNAMIC_WORLD_BANDS, DYNAMIC_WORLD_LOG_RANGE

S2CLOUDLESS: Final = "s2cloudless 1.7.3"
S2CLOUDLESS_BANDS: Final = ("B01", "B02", "B04", "B05", "B08", "B8A", "B09", "B10", "B11", "B12")
S2CLOUDLESS_THRESHOLD: Final = 0.4

DYNAMIC_WORLD: Final = "Dynamic World"
CROPS_CLASS: Final = 4
"""Dynamic World's class of crops, which are green or bare depending on the season."""


@cache
def load_s2cloudless() -> Any:
    """Load the pixel classifier of s2cloudless; None if it or lightgbm is not installed."""
    found = find_spec("s2cloudless")
    if found is None or found.origin is None or find_spec("lightgbm") is None:
        return None
    file = Path(found.origin).parent / "models" / "pixel_s2_cloud_detector_lightGBM_v0.1.txt"
    return import_module("lightgbm").Booster(model_file=str(file))


def mask_with_s2cloudless(bands: dict[str, Float32]) -> UInt8 | None:
    """Mask clouds pixel by pixel with s2cloudless, at its default threshold of 0.4.

    Args:
        bands: L1C reflectance (y, x) by band name.

    Returns:
        Mask (y, x): 1 cloud, 0 clear; None if the package or one of its ten bands is missing.
    """
    model = load_s2cloudless()
    if model is None or any(band not in bands for band in S2CLOUDLESS_BANDS):
        return None
    pixels = np.stack([bands[band].ravel() for band in S2CLOUDLESS_BANDS], axis=1).astype(np.float64)
    probs = np.asarray(model.predict(pixels, num_threads=1))
    return (probs > S2CLOUDLESS_THRESHOLD).astype(np.uint8).reshape(bands["B02"].shape)


@cache
def _load_dynamic_world(root: Path) -> Any:
    """Load Dynamic World's SavedModel; None if tensorflow is not installed."""
    if find_spec("tensorflow") is None:
        return None
    return import_module("tensorflow").saved_model.load(str(root / "dynamicworld-model" / "forward"))


def classify_with_dynamic_world(root: Path, bands: dict[str, Float32]) -> UInt8 | None:
    """Classify land cover with Dynamic World (Brown et al. 2022), without a threshold on its probability.

    Args:
        root: Folder of the real data, which contains the model.
        bands: L2A reflectance (y, x) by band name.

    Returns:
        Most probable class (y, x): 0 water, 1 trees, 2 grass, 3 flooded vegetation, 4 crops, 5 shrub, 6 built, 7 bare,
        8 snow. None if tensorflow or one of the nine bands is missing.
    """
    if any(band not in bands for band in DYNAMIC_WORLD_BANDS):
        return None
    model = _load_dynamic_world(root)
    if model is None:
        return None
    numbers = np.stack([bands[band] for band in DYNAMIC_WORLD_BANDS], axis=-1) * np.float32(10_000)
    scaled = (np.log(numbers * np.float32(0.005) + 1) - DYNAMIC_WORLD_LOG_RANGE[:, 0]) / DYNAMIC_WORLD_LOG_RANGE[:, 1]
    image = (1 / (1 + np.exp(1 - 5 * scaled))).astype(np.float32)
    height, width = image.shape[:2]
    image = np.pad(image, ((0, -height % 32), (0, -width % 32), (0, 0)), mode="reflect")
    logits = np.asarray(model(import_module("tensorflow").constant(image[None])))[0, :height, :width]
    best: UInt8 = logits.argmax(axis=-1).astype(np.uint8)
    return best
