"""Images from which the GPU engine learns its int8 scales: a file, so that each server learns the very same.

Twelve samples of the simulated world, as the networks trained on, of 10 m to 120 m.
`scripts/make_calibration_images.py` writes the file.
"""

from pathlib import Path
from typing import Final

import numpy as np

from s2ops.constants import UInt8

FILE: Final = Path(__file__).with_suffix(".npz")

SAMPLES: Final = 12
SIDE: Final = 192


def images() -> UInt8:
    """(12, band, 192, 192) levels, bands in the order of `BANDS`."""
    with np.load(FILE) as stored:
        levels: UInt8 = stored["levels"]
        return levels


def window(side: int) -> UInt8:
    """(1, band, side, side): the samples side by side, again and again."""
    samples, across = images(), -(-side // SIDE)
    picked = samples[np.arange(across * across) % len(samples)]
    rows = [np.concatenate(list(row), axis=2) for row in np.split(picked, across)]
    whole: UInt8 = np.concatenate(rows, axis=1)[None, :, :side, :side]
    return np.ascontiguousarray(whole)
