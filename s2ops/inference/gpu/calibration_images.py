"""Calibration images for post-training int8 quantization: a fixed file, so every server derives the same scales.

The file contains twelve samples of the simulated world, like the training data, with pixels of 10 m to 120 m.
`scripts/make_calibration_images.py` writes it.
"""

from pathlib import Path
from typing import Final

import numpy as np

from s2ops.constants import UInt8

CALIBRATION_FILE: Final = Path(__file__).with_suffix(".npz")

SAMPLE_COUNT: Final = 12

SAMPLE_SIDE_PX: Final = 192
"""Height and width of each sample in pixels."""


def load_calibration_images() -> UInt8:
    """Load the samples: uint8 levels (12, band, 192, 192), bands in the order of `BANDS`."""
    with np.load(CALIBRATION_FILE) as stored:
        levels: UInt8 = stored["levels"]
        return levels


def build_calibration_window(side: int) -> UInt8:
    """Build one window of `side` pixels from the samples, repeated side by side: (1, band, side, side)."""
    samples, across = load_calibration_images(), -(-side // SAMPLE_SIDE_PX)
    picked = samples[np.arange(across * across) % len(samples)]
    rows = [np.concatenate(list(row), axis=2) for row in np.split(picked, across)]
    whole: UInt8 = np.concatenate(rows, axis=1)[None, :, :side, :side]
    return np.ascontiguousarray(whole)
