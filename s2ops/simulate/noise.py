"""Random fields that are pure functions of (seed, x, y): the same ground point gives the same value in any window.

Coordinates are world metres, float64, broadcastable to (y, x). A window whose `x` has shape (1, n) and `y` has shape
(m, 1) is axis-aligned and is evaluated separably, several times faster, to the same values.
"""

from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from s2ops.constants import Float32, Float64, Int32, Int64
from s2ops.runtime.jit import compiled

UInt32 = NDArray[np.uint32]
Value = TypeVar("Value", np.float32, np.uint32)

NOISE_STD: Final = 0.5
"""Standard deviation of `value_noise`, the same at every place."""

LACUNARITY: Final = 2.17
"""Ratio of two octaves' cells; not 2, so that their lattices never line up."""

_MINUS_PI: Final = np.float32(-np.pi)
_THREE_HALVES_PI: Final = np.float32(1.5 * np.pi)


@dataclass(frozen=True)
class Points:
    """Where a window looks: world metres, broadcastable to (y, x), and how fine it can see."""

    x: Float64
    y: Float64
    finest: float
    """Metres; noise with a smaller lattice is left out, it would alias."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(y, x) of the window."""
        return np.broadcast_shapes(self.x.shape, self.y.shape)

    def moved(self, east: float, north: float) -> "Points":
        """The same window displaced by metres."""
        return Points(self.x + east, self.y + north, self.finest)

    def turned(self, angle: Float64 | float) -> tuple[Float64, Float64]:
        """Coordinates along and across the direction `angle` (radians from the x axis), metres."""
        cos, sin = np.cos(angle), np.sin(angle)
        return self.x * cos + self.y * sin, self.y * cos - self.x * sin


def mix(seed: int, ix: Int64, iy: Int64) -> UInt32:
    """Hash integer cells to 32 random bits; `ix` and `iy` broadcast (multiply-xorshift, after Murmur3's finaliser)."""
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


def unit(bits: UInt32, part: int = 0) -> Float32:
    """Random bits -> float32 in 0..1; `part` 0, 1 or 2 takes three independent groups of ten bits."""
    out: Float32 = ((bits >> np.uint32(10 * part)) & np.uint32(1023)).astype(np.float32) * np.float32(1 / 1023)
    return out


def value_noise(seed: int, at: Points, cell: float) -> Float32:
    """Smooth noise of standard deviation `NOISE_STD`, from nearly normal values on a lattice of `cell` metres."""
    total = np.zeros(at.shape, np.float32)
    _add_noise(total, 1.0, seed, at, cell)
    return total


def _add_noise(total: Float32, amplitude: float, seed: int, at: Points, cell: float) -> None:
    """Add noise times `amplitude` to `total`; the rows of an axis-aligned window first, else point by point."""
    on_axes = at.x.shape[0] == 1 and at.y.shape[1:] == (1,)
    x, y = (at.x, at.y) if on_axes else np.broadcast_arrays(at.x, at.y)
    across, up = _steps(x, cell, seed * 0.618034), _steps(y, cell, seed * 0.754877)
    lattice = _lattice(seed, across, up)
    if on_axes:
        lines = up.here[:, None] * lattice[up.cell] + up.next[:, None] * lattice[up.cell + 1]
        total += np.float32(amplitude) * (across.here * lines[:, across.cell] + across.next * lines[:, across.cell + 1])
    else:
        cells, weights = (across.cell, up.cell), (across.here, across.next, up.here, up.next)
        _interpolate(lattice, cells, weights, np.float32(amplitude), total.reshape(-1))


@dataclass(frozen=True)
class _Steps:
    """Where points lie between the lattice's lines along one axis, (point).

    The weights are cosine and sine of a smooth step: their squares sum to 1, so that the variance is the same
    everywhere (linear weights make noise strong on the lattice, weak between: rows of dots after a threshold).
    """

    first: int
    """Number of the first line that is needed; with a large seed it takes 64 bits."""
    cell: Int32
    """Lines from there to the one before each point."""
    here: Float32
    """Weight of that line."""
    next: Float32
    """Weight of the one behind the point."""


def _steps(values: Float64, cell: float, shift: float) -> _Steps:
    flat = np.ascontiguousarray(values).reshape(-1)
    cells, angle = np.empty(flat.shape, np.int32), np.empty(flat.shape, np.float32)
    first = _angles(flat, 1 / cell, shift, cells, angle)
    # NumPy's cosine and sine: those of the C library, which a compiled loop would call, may differ in the last digit
    return _Steps(first, cells, np.cos(angle), np.sin(angle, out=angle))


def _lattice(seed: int, across: _Steps, up: _Steps) -> Float32:
    """Random values, about normal, of all lattice points that are needed, (y, x)."""
    columns = np.arange(across.first, across.first + int(across.cell.max()) + 2, dtype=np.int64)[None, :]
    rows = np.arange(up.first, up.first + int(up.cell.max()) + 2, dtype=np.int64)[:, None]
    bits = mix(seed, columns, rows)
    # a sum of three is nearly normal: with uniform values a threshold near their limit cuts a dot from every cell
    out: Float32 = unit(bits, 0) + unit(bits, 1) + unit(bits, 2) - np.float32(1.5)
    return out


@compiled
def _angles(values: Float64, scale: float, shift: float, cell: Int32, angle: Float32) -> int:
    """Write each point's cell, counted from the first one, and the angle (radians) of its weights; gives the first."""
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


@compiled
def _interpolate(
    lattice: Float32,
    cells: tuple[Int32, Int32],
    weights: tuple[Float32, Float32, Float32, Float32],
    amplitude: np.float32,
    total: Float32,
) -> None:
    """Add the lattice between its points, times `amplitude`, to `total`."""
    column, row = cells
    west, east, south, north = weights
    for i in range(total.size):
        y, x = row[i], column[i]
        low = west[i] * lattice[y, x] + east[i] * lattice[y, x + 1]
        high = east[i] * lattice[y + 1, x + 1] + west[i] * lattice[y + 1, x]
        total[i] += amplitude * (low * south[i] + high * north[i])


def fbm(seed: int, at: Points, cell: float, octaves: int, *, gain: float = 0.5) -> Float32:
    """Sum of octaves of value noise, about normal with mean 0 and standard deviation 1.

    The first octave has lattice `cell`; octaves finer than `at.finest` are left out, while the
    scaling stays that of all `octaves`, so that a coarse window is a smoothed fine one.
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


def intervals(seed: int, line: Int64, u: Float64 | Float32) -> tuple[Int64, Float32]:
    """Cut the axis `u` (in cells) into intervals of random length; `line` picks another cut for each line.

    Returns the interval's number and the distance to its nearer end, in cells.
    """
    whole = np.floor(u).astype(np.int64)
    part = (u - whole).astype(np.float32)
    here = np.float32(0.15) + np.float32(0.7) * unit(mix(seed, whole, line))
    after = part > here
    number = whole - ~after
    other = np.where(after, whole + 1, whole - 1)
    there = np.float32(0.15) + np.float32(0.7) * unit(mix(seed, other, line))
    gap = np.where(after, there + 1 - part, part + 1 - there)
    return number, np.minimum(np.abs(part - here), gap)


@dataclass(frozen=True)
class Sites:
    """The cells of a jittered grid that matter to a window, each with a random point and random bits."""

    px: Float64
    """(row, column) of the cells: the point's place, world metres, within the middle half of its cell."""
    py: Float64
    bits: UInt32
    """32 random bits for the point's properties."""
    cells: tuple[tuple[Int64, Int64], ...]
    """For each of the four cells around a pixel: row and column into the tables, broadcastable to (y, x)."""


def sites(seed: int, at: Points, cell: float) -> Sites:
    """The four cells whose middles lie around each pixel; a point further than 0.75 `cell` away is never needed."""
    ix = np.floor(at.x / cell - 0.5).astype(np.int64)
    iy = np.floor(at.y / cell - 0.5).astype(np.int64)
    left, top = int(ix.min()), int(iy.min())
    columns = np.arange(left, int(ix.max()) + 2, dtype=np.int64)[None, :]
    rows = np.arange(top, int(iy.max()) + 2, dtype=np.int64)[:, None]
    place = mix(seed, columns, rows)
    px = (columns + 0.25 + 0.5 * unit(place, 0).astype(np.float64)) * cell
    py = (rows + 0.25 + 0.5 * unit(place, 1).astype(np.float64)) * cell
    around = tuple((iy - top + dy, ix - left + dx) for dy in (0, 1) for dx in (0, 1))
    return Sites(px, py, mix(seed + 7919, columns, rows), around)


def distances(found: Sites, at: Points, cell: tuple[Int64, Int64]) -> Float32:
    """Metres from each pixel to the point of one of its cells, (y, x) float32."""
    ox, oy = at.x.flat[0], at.y.flat[0]  # float32 needs a near origin
    far = (at.x - ox).astype(np.float32) - gather((found.px - ox).astype(np.float32), cell)
    far *= far
    down = (at.y - oy).astype(np.float32) - gather((found.py - oy).astype(np.float32), cell)
    down *= down
    far += down
    np.sqrt(far, out=far)
    return far


def gather(table: NDArray[Value], cell: tuple[Int64, Int64]) -> NDArray[Value]:
    """Look up (row, column) cells in a table, (y, x); rows then columns where the window is axis-aligned."""
    rows, columns = cell
    if rows.shape[1:] == (1,) and columns.shape[0] == 1:
        found: NDArray[Value] = table.take(rows[:, 0], axis=0).take(columns[0], axis=1)
    else:
        found = table.ravel().take(rows * table.shape[1] + columns)
    return found


def voronoi(seed: int, at: Points, cell: float) -> UInt32:
    """Random bits of the nearest jittered point: constant over irregular regions of about `cell` metres."""
    best = np.full(at.shape, np.inf, np.float32)
    bits = np.zeros(at.shape, np.uint32)
    found = sites(seed, at, cell)
    for corner in found.cells:
        far = distances(found, at, corner)
        closer = far < best
        np.copyto(best, far, where=closer)
        np.copyto(bits, gather(found.bits, corner), where=closer)
    return bits
