"""Lanczos-3 resampling (windowed sinc interpolation, 6 x 6 pixels) with nodata; bilinear beside nodata.

Bilinear interpolation blurs: half a pixel off, the mean of two rows halves fine texture, and the strip where two grids
meet becomes visible.
"""

from typing import Final

import numpy as np

from s2ops.constants import Float32, Float64
from s2ops.runtime.jit import compile_kernel

LOBES: Final = 3
_TAPS: Final = 2 * LOBES
_PHASES: Final = 256
"""Sub-pixel positions for which weights are tabulated."""


def _compute_weights() -> Float32:
    """Compute the weights (phase, tap) of the pixels around a position; they sum to 1."""
    phase = np.arange(_PHASES + 1)[:, None] / _PHASES
    off = np.arange(_TAPS) - (LOBES - 1) - phase
    weights = np.sinc(off) * np.sinc(off / LOBES)
    out: Float32 = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return out


_WEIGHTS: Final = _compute_weights()


def resample_lanczos3(part: Float32, y: Float64, x: Float64) -> Float32:
    """Resample a raster at any positions by a Lanczos kernel with three lobes.

    If one of the 6 x 6 pixels has no data, the result is the bilinear mean of the valid ones of the four nearest
    pixels, provided that they have half of the weight; otherwise 0. The result overshoots the range of the four nearest
    pixels by at most half of that range.

    Args:
        part: (band, rows, columns) values; 0 is nodata.
        y: (n, m) rows of the positions, counted from the centre of the first pixel.
        x: (n, m) columns of the positions, counted from the centre of the first pixel.

    Returns:
        (band, n, m) float32 values; 0 is nodata.
    """
    out = np.zeros((part.shape[0], *y.shape), np.float32)
    _resample(np.ascontiguousarray(part), y, x, _WEIGHTS, out)
    return out


@compile_kernel
def _resample(part: Float32, y: Float64, x: Float64, kernel: Float32, out: Float32) -> None:
    bands, height, width = part.shape
    for row in range(y.shape[0]):
        for col in range(y.shape[1]):
            top, left = int(np.floor(y[row, col])), int(np.floor(x[row, col]))
            down, right = np.float32(y[row, col] - top), np.float32(x[row, col] - left)
            whole = LOBES - 1 <= top < height - LOBES and LOBES - 1 <= left < width - LOBES
            if whole:
                for i in range(top - LOBES + 1, top + LOBES + 1):
                    for j in range(left - LOBES + 1, left + LOBES + 1):
                        for band in range(bands):
                            whole = whole and part[band, i, j] != 0
            if whole:
                upright, across = kernel[int(np.rint(down * _PHASES))], kernel[int(np.rint(right * _PHASES))]
                for band in range(bands):
                    out[band, row, col] = _convolve(part[band], top, left, upright, across)
            else:
                _interpolate_valid(part, top, left, down, right, out[:, row, col])


@compile_kernel
def _convolve(band: Float32, top: int, left: int, upright: Float32, across: Float32) -> np.float32:
    total = np.float32(0)
    for i in range(_TAPS):
        line = np.float32(0)
        for j in range(_TAPS):
            line += across[j] * band[top - LOBES + 1 + i, left - LOBES + 1 + j]
        total += upright[i] * line
    near = band[top : top + 2, left : left + 2]
    low, high = near.min(), near.max()
    reach = (high - low) / np.float32(2)
    return np.float32(min(max(total, low - reach), high + reach))


@compile_kernel
def _interpolate_valid(part: Float32, top: int, left: int, down: np.float32, right: np.float32, out: Float32) -> None:
    """Interpolate between the valid ones of the four nearest pixels if they have half of the weight."""
    bands, height, width = part.shape
    one, share = np.float32(1), np.float32(0)
    for i in range(2):
        for j in range(2):
            if not (0 <= top + i < height and 0 <= left + j < width):
                continue
            weight = (down if i else one - down) * (right if j else one - right)
            valid = True
            for band in range(bands):
                valid = valid and part[band, top + i, left + j] != 0
            if valid and weight > 0:
                share += weight
                for band in range(bands):
                    out[band] += weight * part[band, top + i, left + j]
    for band in range(bands):
        out[band] = out[band] / share if share >= np.float32(0.5) else np.float32(0)
