"""Baseline methods for comparison on the same pixels: thresholds (blue, NDWI), and ukis-csmask if it is installed."""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from onnxruntime import InferenceSession, SessionOptions

from s2ops.acquisition.cloud_mask import dilate, to_px
from s2ops.constants import Float32, UInt8
from s2ops.imaging.tone_curve import build_reflectance_table
from s2ops.training.datasets.teacher_models import run_csmask

MIN_CLOUD_BLUE: Final = 0.18
"""Blue reflectance above which the simplest cloud mask classifies a pixel as cloud."""

CSMASK: Final = "ukis-csmask 1.0.0"
CSMASK_DILATION_M: Final = 40.0
"""Dilation of csmask's clouds, metres, for comparison with our dilated masks: people draw clouds generously."""


def mask_bright_blue(levels: UInt8) -> UInt8:
    """Mask pixels of (4, y, x) levels whose blue reflectance is above 0.18: (y, x) 1 is cloud, 0 is clear."""
    out: UInt8 = (np.nan_to_num(build_reflectance_table())[levels[2]] > MIN_CLOUD_BLUE).astype(np.uint8)
    return out


def compute_ndwi(levels: UInt8) -> Float32:
    """Compute the normalised difference water index (McFeeters 1996) of (4, y, x) levels: (y, x), -1 to 1."""
    green, nir = (np.nan_to_num(build_reflectance_table())[levels[band]] for band in (1, 3))
    out: Float32 = (green - nir) / np.maximum(green + nir, np.float32(1e-4))
    return out


@cache
def load_csmask() -> InferenceSession | None:
    """Load the four-band L2A network of ukis-csmask; None if the package is not installed."""
    found = find_spec("ukis_csmask")
    if found is None or found.origin is None:
        return None
    options = SessionOptions()
    options.intra_op_num_threads = 1
    return InferenceSession(str(Path(found.origin).parent / "model_4b_l2a.onnx"), options)


def mask_with_csmask(levels: UInt8, res: float) -> UInt8 | None:
    """Mask clouds and shadows with ukis-csmask as published (pixels of 30 m).

    Args:
        levels: Levels (4, y, x) in the order red, green, blue, nir.
        res: Pixel size in metres.

    Returns:
        Mask (y, x): 0 clear, 1 cloud, 2 shadow; None if the package is not installed.
    """
    session = load_csmask()
    if session is None:
        return None
    image = np.nan_to_num(build_reflectance_table())[levels[[2, 1, 0, 3]]]
    return run_csmask(session, image, res)


def iterate_csmask_variants(levels: UInt8, res: float) -> Iterator[tuple[str, UInt8]]:
    """Yield (method name, mask) of ukis-csmask as published and with dilated clouds; nothing if it is not installed."""
    mask = mask_with_csmask(levels, res)
    if mask is not None:
        yield CSMASK, mask
        cloud = dilate(mask == 1, to_px(CSMASK_DILATION_M, res))
        yield f"{CSMASK}, clouds grown by {CSMASK_DILATION_M:.0f} m", np.where(cloud, 1, mask).astype(np.uint8)
