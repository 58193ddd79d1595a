"""Teacher models (pseudo-labels): published networks that label the real scenes, once, when training data is packed.

ukis-csmask 1.0.0 (Apache-2.0): clouds and shadows from four bands. The U-net of sentle 2026.10.2 (MIT), trained on the
human labels of CloudSEN12: thick and thin clouds and shadows from twelve bands. Dynamic World (Apache-2.0;
Brown et al. 2022): land cover from nine bands.
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from onnxruntime import InferenceSession
from scipy import ndimage

from s2ops.constants import Float32, LandCover, UInt8
from s2ops.training.datasets.pools import BUILT
from s2ops.training.datasets.real_scenes import RealScene
from s2ops.training.datasets.vegetation_labels import MIN_GRASS_NDVI, MIN_TREE_NDVI

CSMASK_MEAN: Final = np.array([0.26681778, 0.27799085, 0.28811994, 0.36494744], np.float32)
CSMASK_STD: Final = np.array([0.33637598, 0.3125456, 0.31114848, 0.27260706], np.float32)
"""Mean and standard deviation of blue, green, red, nir, from model_4b_l2a.json of ukis-csmask."""

CSMASK_TILE_PX: Final = 256
"""Side of the windows of ukis-csmask in pixels."""
CSMASK_RES_M: Final = 30
"""Pixel size in metres that ukis-csmask was trained on."""

CLOUD_DILATION_PX: Final = 2
"""Dilation of the teacher's clouds, which lack their thin edges, pixels."""

DYNAMIC_WORLD_BANDS: Final = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B11", "B12")

DYNAMIC_WORLD_LOG_RANGE: Final = np.array(
    [
        [1.7417268, 2.0232987],
        [1.7261205, 2.0389052],
        [1.6798346, 2.1795928],
        [1.7734969, 2.2890068],
        [2.2891541, 2.6171675],
        [2.3829397, 2.7734186],
        [2.3828940, 2.7578333],
        [2.1952484, 2.7890925],
        [1.5548129, 2.4140535],
    ],
    np.float32,
)
"""Percentiles that scale the logarithm of the bands for Dynamic World (from its published example)."""

_DYNAMIC_WORLD_CODES: Final = (
    LandCover.WATER,
    LandCover.TREE,
    LandCover.GRASS,
    LandCover.NODATA,  # flooded vegetation: neither water nor plants
    LandCover.GRASS,  # crops; bare fields are separated by NDVI
    LandCover.NODATA,  # shrub: by NDVI (MAX_SHRUB_NDVI)
    BUILT,
    LandCover.BARREN,
    LandCover.NODATA,  # snow
)
"""Cover code of each of Dynamic World's nine classes."""

DYNAMIC_WORLD_PLANTS: Final = (1, 2, 4)
"""Classes of trees, grass and crops in Dynamic World."""

MAX_SHRUB_NDVI: Final = 0.45
"""NDVI below which Dynamic World's shrub is low, sparse cover (grass or barren) rather than closed scrub."""

MIN_PROBABILITY: Final = 0.45
MIN_PLANT_PROBABILITY: Final = 0.33
"""Minimum probability of Dynamic World's best class; the second one for plants whose NDVI agrees."""


def label_clouds(session: InferenceSession, scene: RealScene) -> UInt8:
    """Label a scene with ukis-csmask, with dilated clouds: (y, x) 0 clear, 1 cloud, 2 shadow, 255 no data."""
    image = np.stack([scene.bands[band] for band in ("B02", "B03", "B04", "B08")])
    fine = run_csmask(session, image, scene.res, grown=1)
    cloud = ndimage.binary_dilation(fine == 1, iterations=CLOUD_DILATION_PX)
    mask: UInt8 = np.where(cloud, 1, fine).astype(np.uint8)
    mask[scene.levels[0] == 0] = 255
    return mask


CLOUDSEN_BANDS: Final = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
_SUBSTITUTE_BANDS: Final = {"B01": "B02", "B09": "B8A"}
"""Spectral neighbours that replace the bands of 60 m, which some products lack."""
_CLOUDSEN_CODES: Final = np.array([0, 1, 1, 2], np.uint8)
"""Clear, thick cloud, thin cloud, shadow as codes of `Mask`."""


def label_clouds_cloudsen(model: Path, scene: RealScene) -> UInt8 | None:
    """Label a scene with the CloudSEN12 U-net of sentle.

    Args:
        model: TorchScript file of sentle.
        scene: Real scene.

    Returns:
        Mask (y, x): 0 clear, 1 cloud (thick or thin), 2 shadow; None if the scene lacks bands.
    """
    bands = {name: scene.bands.get(name, scene.bands.get(_SUBSTITUTE_BANDS.get(name, name))) for name in CLOUDSEN_BANDS}
    if any(band is None for band in bands.values()):
        return None
    torch = import_module("torch")
    image = np.stack([band for band in bands.values() if band is not None])
    height, width = image.shape[1:]
    padded = np.pad(image, ((0, 0), (0, -height % 32), (0, -width % 32)), mode="reflect")
    with torch.no_grad():
        scores = torch.jit.load(str(model)).eval()(torch.from_numpy(padded[None])).numpy()[0]
    out: UInt8 = _CLOUDSEN_CODES[scores[:, :height, :width].argmax(axis=0)]
    return out


def run_csmask(session: InferenceSession, image: Float32, res: float, grown: int = 0) -> UInt8:
    """Run ukis-csmask on an image resampled to pixels of 30 m.

    Args:
        session: ONNX session of its four-band network.
        image: Reflectance (4, y, x) of blue, green, red, nir.
        res: Pixel size of the image in metres.
        grown: Dilation of clouds, pixels of 30 m.

    Returns:
        Mask (y, x): 0 clear, 1 cloud, 2 shadow.
    """
    factor = res / CSMASK_RES_M
    coarse = ndimage.zoom(image, (1, factor, factor), order=1)
    probs = _predict_tiles(session, (coarse - CSMASK_MEAN[:, None, None]) / CSMASK_STD[:, None, None])
    mask = probs.argmax(axis=0).astype(np.uint8)
    if grown:
        mask[ndimage.binary_dilation(mask == 1, iterations=grown)] = 1
    return _upsample_nearest(mask, image.shape[1:])


def _predict_tiles(session: InferenceSession, image: Float32) -> Float32:
    """Predict class probabilities (3, y, x) in overlapping tiles, and sum them."""
    _, height, width = image.shape
    below, right = max(CSMASK_TILE_PX - height, 0), max(CSMASK_TILE_PX - width, 0)
    padded = np.pad(image, ((0, 0), (0, below), (0, right)), mode="reflect").astype(np.float32)
    total = np.zeros((3, *padded.shape[1:]), np.float32)
    for y in sorted(
        {*range(0, padded.shape[1] - CSMASK_TILE_PX, CSMASK_TILE_PX // 2), padded.shape[1] - CSMASK_TILE_PX}
    ):
        for x in sorted(
            {*range(0, padded.shape[2] - CSMASK_TILE_PX, CSMASK_TILE_PX // 2), padded.shape[2] - CSMASK_TILE_PX}
        ):
            tile = padded[None, :, y : y + CSMASK_TILE_PX, x : x + CSMASK_TILE_PX]
            logits = session.run(None, {session.get_inputs()[0].name: tile})[0][0]
            odds = np.exp(logits - logits.max(axis=0))
            total[:, y : y + CSMASK_TILE_PX, x : x + CSMASK_TILE_PX] += odds / odds.sum(axis=0)
    out: Float32 = total[:, :height, :width]
    return out


def _upsample_nearest(labels: UInt8, shape: tuple[int, ...]) -> UInt8:
    """Upsample labels (y, x) to `shape` by nearest neighbour."""
    rows = np.arange(shape[0]) * labels.shape[0] // shape[0]
    columns = np.arange(shape[1]) * labels.shape[1] // shape[1]
    out: UInt8 = labels[rows[:, None], columns]
    return out


@cache
def _load_dynamic_world(model: Path) -> Callable[..., Any]:
    """Load Dynamic World. Only packing training data needs tensorflow, so it is not a dependency."""
    loaded: Callable[..., Any] = import_module("tensorflow").saved_model.load(str(model))
    return loaded


def label_land_cover(model: Path, bands: dict[str, Float32]) -> UInt8:
    """Label land cover with Dynamic World (Brown et al. 2022; needs tensorflow).

    Args:
        model: Folder of its SavedModel.
        bands: L2A reflectance (y, x) by band name.

    Returns:
        Codes (y, x) of `LandCover` or `BUILT`; 0 where its probability is low.
    """
    tensorflow = import_module("tensorflow")
    numbers = np.stack([bands[band] for band in DYNAMIC_WORLD_BANDS], axis=-1) * np.float32(10_000)
    scaled = (np.log(numbers * np.float32(0.005) + 1) - DYNAMIC_WORLD_LOG_RANGE[:, 0]) / DYNAMIC_WORLD_LOG_RANGE[:, 1]
    odds = np.exp(scaled * 5 - 1)
    image = (odds / (odds + 1)).astype(np.float32)
    height, width = image.shape[:2]
    below, right = -height % 32, -width % 32
    image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")
    logits = _load_dynamic_world(model)(tensorflow.constant(image[None])).numpy()[0, :height, :width]
    probs = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs /= probs.sum(axis=-1, keepdims=True)
    best = probs.argmax(axis=-1)
    cover = np.array(_DYNAMIC_WORLD_CODES, np.uint8)[best]
    red, nir = bands["B04"], bands["B08"]
    ndvi = (nir - red) / np.maximum(nir + red, 0.01)
    cover[(best == 4) & (ndvi < 0.3)] = LandCover.BARREN  # a ploughed field is barren in our classes
    cover[(best == 4) & (ndvi >= 0.3) & (ndvi < 0.4)] = LandCover.NODATA
    shrub = best == 5
    cover[shrub & (ndvi >= MIN_GRASS_NDVI) & (ndvi < MAX_SHRUB_NDVI)] = LandCover.GRASS
    cover[shrub & (ndvi < MIN_GRASS_NDVI)] = LandCover.BARREN
    cover[(best == 1) & (ndvi < MIN_TREE_NDVI)] = LandCover.NODATA
    agreed = np.isin(best, DYNAMIC_WORLD_PLANTS) & (ndvi > 0.6)  # pixels classified as plants whose NDVI agrees
    cover[probs.max(axis=-1) < np.where(agreed, MIN_PLANT_PROBABILITY, MIN_PROBABILITY)] = LandCover.NODATA
    out: UInt8 = cover
    return out
