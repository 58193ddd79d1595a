"""Procedural noise (value noise, fractal noise, Voronoi cells): pure functions of (seed, x, y), equal in any window.

Coordinates are world metres, float64, broadcastable to (y, x). A window whose `x` has shape (1, n) and `y` has shape
(m, 1) is axis-aligned and is evaluated separably, several times faster, to the same values.
"""

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2ops.constants import Float32, Float64, Int32, Int64
from s2ops.runtime.jit import compile_kernel

UInt32 = NDArray[np.uint32]
Value = TypeVar("Value", np.float32, np.uint32)

NOISE_STD: Final = 0.5
"""Standard deviation of `value_noise`, the same at every place."""

LACUNARITY: Final = 2.17
"""Ratio of the cells of two octaves; not 2, so that their lattices never align."""

_MINUS_PI: Final = np.float32(-np.pi)
_THREE_HALVES_PI: Final = np.float32(1.5 * np.pi)


@dataclass(frozen=True)
class SamplePoints:
    """Sample points of a window in world metres, broadcastable to (y, x), with the finest detail that they resolve."""

    x: Float64
    y: Float64
    finest: float
    """Metres; noise with a smaller lattice is left out, because it would alias."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (y, x) of the window."""
        return np.broadcast_shapes(self.x.shape, self.y.shape)

    def translate(self, east: float, north: float) -> "SamplePoints":
        """Translate the window by metres."""
        return SamplePoints(self.x + east, self.y + north, self.finest)

    def rotate(self, angle: Float64 | float) -> tuple[Float64, Float64]:
        """Rotate to coordinates along and across the direction `angle` (radians from the x axis), in metres."""
        cos, sin = np.cos(angle), np.sin(angle)
        return self.x * cos + self.y * sin, self.y * cos - self.x * sin


def hash_cells(seed: int, ix: Int64, iy: Int64) -> UInt32:
    """Hash integer cells to 32 random bits; `ix` and `iy` broadcast (multiply-xorshift, after Murmur3's finalizer)."""
    start = np.uint32((seed * 0x9E3779B1 + 0x85EBCA6B) & 0xFFFFFFFF)
    # only the low 32 bits count; world cells stay far below 2**31
    h: UInt32 = (ix.astype(np.uint32) * np.uint32(0x27D4EB2F)) ^ (iy.astype(np.uint32) * np.uint32(0x165667B1))
    h ^= start
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x9E3779B1)
    h ^= h >> np.uint32(15)
    return h


def to_unit(bits: UInt32, part: int = 0) -> Float32:
    """Convert random bits to float32 in 0..1; `part` 0, 1 or 2 selects one of three independent groups of ten bits."""
    out: Float32 = ((bits >> np.uint32(10 * part)) & np.uint32(1023)).astype(np.float32) * np.float32(1 / 1023)
    return out


def compute_value_noise(seed: int, at: SamplePoints, cell: float) -> Float32:
    """Compute value noise: smooth, standard deviation `NOISE_STD`, nearly normal, on a lattice of `cell` metres."""
    total = np.zeros(at.shape, np.float32)
    _add_noise(total, 1.0, seed, at, cell)
    return total


def _add_noise(total: Float32, amplitude: float, seed: int, at: SamplePoints, cell: float) -> None:
    """Add noise times `amplitude` to `total`: separably in an axis-aligned window, otherwise point by point."""
    on_axes = at.x.shape[0] == 1 and at.y.shape[1:] == (1,)
    x, y = (at.x, at.y) if on_axes else np.broadcast_arrays(at.x, at.y)
    across, up = _locate_points(x, cell, seed * 0.618034), _locate_points(y, cell, seed * 0.754877)
    lattice = _compute_lattice(seed, across, up)
    if on_axes:
        lines = up.here[:, None] * lattice[up.cell] + up.next[:, None] * lattice[up.cell + 1]
        total += np.float32(amplitude) * (across.here * lines[:, across.cell] + across.next * lines[:, across.cell + 1])
    else:
        cells, weights = (across.cell, up.cell), (across.here, across.next, up.here, up.next)
        _interpolate(lattice, cells, weights, np.float32(amplitude), total.reshape(-1))


@dataclass(frozen=True)
class _LatticePositions:
    """Positions of points between the lattice's lines along one axis, arrays (point,).

    The weights are cosine and sine of a smooth step. Their squares sum to 1, so that the variance is the same
    everywhere; with linear weights noise is strong on the lattice and weak between: rows of dots after a threshold.
    """

    first: int
    """Number of the first line that is needed; a large seed requires 64 bits."""
    cell: Int32
    """Number of the line before each point, counted from `first`."""
    here: Float32
    """Weight of the line before the point."""
    next: Float32
    """Weight of the line after the point."""


def _locate_points(values: Float64, cell: float, shift: float) -> _LatticePositions:
    flat = np.ascontiguousarray(values).reshape(-1)
    cells, angle = np.empty(flat.shape, np.int32), np.empty(flat.shape, np.float32)
    first = _compute_angles(flat, 1 / cell, shift, cells, angle)
    # NumPy's cosine and sine: a compiled loop would call the C library's, which may differ in the last digit
    return _LatticePositions(first, cells, np.cos(angle), np.sin(angle, out=angle))


def _compute_lattice(seed: int, across: _LatticePositions, up: _LatticePositions) -> Float32:
    """Compute nearly normal random values (y, x) of all lattice points that are needed."""
    columns = np.arange(across.first, across.first + int(across.cell.max()) + 2, dtype=np.int64)[None, :]
    rows = np.arange(up.first, up.first + int(up.cell.max()) + 2, dtype=np.int64)[:, None]
    bits = hash_cells(seed, columns, rows)
    # the sum of three is nearly normal; with uniform values a threshold near their limit cuts a dot from every cell
    out: Float32 = to_unit(bits, 0) + to_unit(bits, 1) + to_unit(bits, 2) - np.float32(1.5)
    return out


@compile_kernel
def _compute_angles(values: Float64, scale: float, shift: float, cell: Int32, angle: Float32) -> int:
    """Write the cell of each point, counted from the first cell, and the angle (radians) of its weights.

    Returns:
        Number of the first cell.
    """
    least = values[0]
    for value in values:
        least = min(least, value)
    first = np.floor(least * scale + shift)
    for i in range(values.size):
        scaled = values[i] * scale + shift
        line = np.floor(scaled)
        part = np.float32(scaled - line)
        angle[i] = (part * _MINUS_PI + _THREE_HALVES_PI) * part * part
        cell[i] = np.int32(line - first)
    return int(first)


@compile_kernel
def _interpolate(
    lattice: Float32,
    cells: tuple[Int32, Int32],
    weights: tuple[Float32, Float32, Float32, Float32],
    amplitude: np.float32,
    total: Float32,
) -> None:
    """Interpolate the lattice and add it, times `amplitude`, to `total`."""
    column, row = cells
    west, east, south, north = weights
    for i in range(total.size):
        y, x = row[i], column[i]
        low = west[i] * lattice[y, x] + east[i] * lattice[y, x + 1]
        high = east[i] * lattice[y + 1, x + 1] + west[i] * lattice[y + 1, x]
        total[i] += amplitude * (low * south[i] + high * north[i])


def compute_fbm(seed: int, at: SamplePoints, cell: float, octaves: int, *, gain: float = 0.5) -> Float32:
    """Compute fractal noise (fractional Brownian motion): a sum of octaves, nearly normal, mean 0, deviation 1.

    Octaves finer than `at.finest` are left out, but the scaling is that of all `octaves`, so that a coarse window is a
    smoothed fine one.

    Args:
        seed: Seed of the field.
        at: Window.
        cell: Lattice of the first octave in metres.
        octaves: Number of octaves.
        gain: Ratio of the amplitudes of two octaves.

    Returns:
        (y, x) float32.
    """
    total: Float32 = np.zeros(at.shape, np.float32)
    power, amplitude = 0.0, 1.0
    for octave in range(octaves):
        if octave == 0 or cell >= at.finest:
            _add_noise(total, amplitude, seed * 31 + octave, at, cell)
        power += amplitude**2
        amplitude *= gain
        cell /= LACUNARITY
    total *= np.float32(1 / (NOISE_STD * power**0.5))
    return total


def find_intervals(seed: int, line: Int64, u: Float64 | Float32) -> tuple[Int64, Float32]:
    """Find the interval of each position on an axis that is cut into intervals of random length.

    Args:
        seed: Seed of the cuts.
        line: Number of the axis; each has its own cuts.
        u: Positions in mean interval lengths.

    Returns:
        Number of the interval, and distance to its nearer end in the unit of `u`.
    """
    whole = np.floor(u).astype(np.int64)
    part = (u - whole).astype(np.float32)
    here = np.float32(0.15) + np.float32(0.7) * to_unit(hash_cells(seed, whole, line))
    after = part > here
    number = whole - ~after
    other = np.where(after, whole + 1, whole - 1)
    there = np.float32(0.15) + np.float32(0.7) * to_unit(hash_cells(seed, other, line))
    gap = np.where(after, there + 1 - part, part + 1 - there)
    return number, np.minimum(np.abs(part - here), gap)


@dataclass(frozen=True)
class Sites:
    """Cells of a jittered grid near a window, each with a random point and random bits."""

    px: Float64
    """(row, column) of the cells: position of the point in world metres, within the middle half of its cell."""
    py: Float64
    bits: UInt32
    """32 random bits for the point's properties."""
    cells: tuple[tuple[Int64, Int64], ...]
    """For each of the four cells around a pixel: row and column in the tables, broadcastable to (y, x)."""


def find_sites(seed: int, at: SamplePoints, cell: float) -> Sites:
    """Find the four cells whose centres surround each pixel; points farther than 0.75 `cell` are never needed."""
    ix = np.floor(at.x / cell - 0.5).astype(np.int64)
    iy = np.floor(at.y / cell - 0.5).astype(np.int64)
    left, top = int(ix.min()), int(iy.min())
    columns = np.arange(left, int(ix.max()) + 2, dtype=np.int64)[None, :]
    rows = np.arange(top, int(iy.max()) + 2, dtype=np.int64)[:, None]
    place = hash_cells(seed, columns, rows)
    px = (columns + 0.25 + 0.5 * to_unit(place, 0).astype(np.float64)) * cell
    py = (rows + 0.25 + 0.5 * to_unit(place, 1).astype(np.float64)) * cell
    around = tuple((iy - top + dy, ix - left + dx) for dy in (0, 1) for dx in (0, 1))
    return Sites(px, py, hash_cells(seed + 7919, columns, rows), around)


def compute_distances(found: Sites, at: SamplePoints, cell: tuple[Int64, Int64]) -> Float32:
    """Compute the distance in metres from each pixel to the point of one of its cells, (y, x) float32."""
    ox, oy = at.x.flat[0], at.y.flat[0]  # an origin nearby: float32 has too few digits for world metres
    far = (at.x - ox).astype(np.float32) - gather((found.px - ox).astype(np.float32), cell)
    far *= far
    down = (at.y - oy).astype(np.float32) - gather((found.py - oy).astype(np.float32), cell)
    down *= down
    far += down
    np.sqrt(far, out=far)
    return far


def gather(table: NDArray[Value], cell: tuple[Int64, Int64]) -> NDArray[Value]:
    """Gather (row, column) cells of a table as (y, x); rows, then columns, in an axis-aligned window."""
    rows, columns = cell
    if rows.shape[1:] == (1,) and columns.shape[0] == 1:
        found: NDArray[Value] = table.take(rows[:, 0], axis=0).take(columns[0], axis=1)
    else:
        found = table.ravel().take(rows * table.shape[1] + columns)
    return found


def compute_voronoi(seed: int, at: SamplePoints, cell: float) -> UInt32:
    """Compute Voronoi cells: random bits of the nearest jittered point, constant in regions of about `cell` metres."""
    best = np.full(at.shape, np.inf, np.float32)
    bits = np.zeros(at.shape, np.uint32)
    found = find_sites(seed, at, cell)
    for corner in found.cells:
        far = compute_distances(found, at, corner)
        closer = far < best
        np.copyto(best, far, where=closer)
        np.copyto(bits, gather(found.bits, corner), where=closer)
    return bits
