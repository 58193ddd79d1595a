"""What others do on the same pixels: thresholds, and ukis-csmask where it is installed."""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
from onnxruntime import InferenceSession, SessionOptions

from s2ops.acquisition.cloud_mask import grow, grow_px
from s2ops.constants import Float32, UInt8
from s2ops.imaging.tone_curve import reflectance_table
from s2ops.training.datasets.teacher_models import teacher_mask

BRIGHT: Final = 0.18
"""Blue reflectance from which the simplest cloud mask calls a pixel cloud."""

CSMASK: Final = "ukis-csmask 1.0.0"
GROWN_M: Final = 40.0
"""Metres by which its clouds are grown to be compared with ours, which are: people draw clouds generously."""


def bright_mask(levels: UInt8) -> UInt8:
    """(4, y, x) levels -> (y, x) 1 where blue reflectance is above 0.18."""
    out: UInt8 = (np.nan_to_num(reflectance_table())[levels[2]] > BRIGHT).astype(np.uint8)
    return out


def ndwi(levels: UInt8) -> Float32:
    """(4, y, x) levels -> (y, x) normalised difference of green and near infrared (McFeeters 1996)."""
    green, nir = (np.nan_to_num(reflectance_table())[levels[band]] for band in (1, 3))
    out: Float32 = (green - nir) / np.maximum(green + nir, np.float32(1e-4))
    return out


@cache
def csmask_session() -> InferenceSession | None:
    """The four-band L2A network of ukis-csmask, or None where the package is not installed."""
    found = find_spec("ukis_csmask")
    if found is None or found.origin is None:
        return None
    options = SessionOptions()
    options.intra_op_num_threads = 1
    return InferenceSession(str(Path(found.origin).parent / "model_4b_l2a.onnx"), options)


def csmask(levels: UInt8, res: float) -> UInt8 | None:
    """(y, x) 0 clear, 1 cloud, 2 shadow as ukis-csmask comes (30 m pixels), or None where it is not installed."""
    session = csmask_session()
    if session is None:
        return None
    image = np.nan_to_num(reflectance_table())[levels[[2, 1, 0, 3]]]
    return teacher_mask(session, image, res)


def csmasks(levels: UInt8, res: float) -> Iterator[tuple[str, UInt8]]:
    """ukis-csmask's mask by method: as it comes, and with its clouds grown; nothing where it is not installed."""
    mask = csmask(levels, res)
    if mask is not None:
        yield CSMASK, mask
        cloud = grow(mask == 1, grow_px(GROWN_M, res))
        yield f"{CSMASK}, clouds grown by {GROWN_M:.0f} m", np.where(cloud, 1, mask).astype(np.uint8)
