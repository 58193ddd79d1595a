"""Settlements: where towns, villages and industrial estates lie, and what stands inside them.

A town has its own street direction. Its blocks are houses on small lots with gardens, or halls and yards; the latter
gather at one side of larger towns and make up whole estates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.codes import Float32, Float64, UInt8
from s2ops.simulate.kinds import Kind
from s2ops.simulate.noise import UInt32, intervals, mix, sites, unit, value_noise

ESTATE: Final = 0.22
"""Share of the towns that are industrial estates and nothing else."""


@dataclass(frozen=True)
class Layer:
    """One size class of settlements: a jittered grid with at most one in each cell."""

    salt: int
    cell: float
    """Metres between neighbours."""
    smallest: float
    largest: float
    """Radius, metres."""
    chance: float
    """Part of the cells that have one."""


LAYERS: Final = (
    Layer(salt=101, cell=7000.0, smallest=350.0, largest=3500.0, chance=0.9),
    Layer(salt=102, cell=2300.0, smallest=90.0, largest=360.0, chance=0.45),
)


@dataclass(frozen=True)
class Towns:
    """The nearest town of each pixel."""

    edge: Float32
    """Distance from the middle over the radius: below 1 is inside (before the ragged border)."""
    bits: UInt32
    """The town's random bits."""
    radius: Float32
    """Metres; 0 where no town is near."""


def towns(seed: int, x: Float64, y: Float64, people: Float32) -> Towns:
    """The town that each pixel is nearest to, by distance over radius; `people` (0..1) scales the radii."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    edge, radius = np.full(shape, 9.0, np.float32), np.zeros(shape, np.float32)
    bits = np.zeros(shape, np.uint32)
    ox, oy = x.flat[0], y.flat[0]
    dx, dy = (x - ox).astype(np.float32), (y - oy).astype(np.float32)
    for layer in LAYERS:
        found = sites(seed + layer.salt, x, y, layer.cell)
        px, py = (found.px - ox).astype(np.float32), (found.py - oy).astype(np.float32)
        sizes = layer.smallest + (layer.largest - layer.smallest) * unit(found.bits, 1) ** 4
        # an absent town is so small that no pixel is inside
        sizes = np.where(unit(found.bits) < layer.chance, sizes, np.float32(1.0))
        for at in found.cells:
            size = sizes[at] * people
            far = (dx - px[at]) ** 2
            far += (dy - py[at]) ** 2
            np.sqrt(far, out=far)
            far /= size
            closer = far < edge
            np.copyto(edge, far, where=closer)
            np.copyto(bits, found.bits[at], where=closer)
            np.copyto(radius, size, where=closer)
    return Towns(edge, bits, radius)


def build(seed: int, x: Float64, y: Float64, edge: Float32, bits: UInt32) -> tuple[UInt8, Float32]:
    """The kind and the variety (0..1, one value a building) of points inside towns; flat arrays (n,)."""
    angle = (unit(bits, 2) * np.float32(np.pi / 2)).astype(np.float64)
    u = x * np.cos(angle) + y * np.sin(angle)
    v = y * np.cos(angle) - x * np.sin(angle)
    industry = _industrial(seed, x, y, edge, bits)
    kind, variety = _houses(seed + 11, u, v, edge)
    halls, shades = _halls(seed + 12, u[industry], v[industry])
    kind[industry], variety[industry] = halls, shades
    return kind, variety


def _industrial(
    seed: int, x: Float64, y: Float64, edge: Float32, bits: UInt32
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which points lie in industrial or commercial quarters: whole estates, or the fringe of larger towns."""
    estate = unit(mix(seed + 13, bits.astype(np.int64), np.zeros(1, np.int64))) < ESTATE
    quarter = value_noise(seed + 14, x, y, 900.0) + np.float32(0.35) * (edge - np.float32(0.6))
    return np.asarray(estate | (quarter > np.float32(0.38)))


def _houses(seed: int, u: Float64, v: Float64, edge: Float32) -> tuple[UInt8, Float32]:
    """Blocks of some 90 m with streets between them and one house on each lot; denser towards the middle."""
    block, du = intervals(seed, np.zeros(1, np.int64), u / 110)
    line, dv = intervals(seed + 1, block, v / 80)
    lot_u, lot_v = np.floor(u / 21).astype(np.int64), np.floor(v / 24).astype(np.int64)
    lot = mix(seed + 2, lot_u, lot_v)
    in_u = np.abs((u / 21 - lot_u).astype(np.float32) - np.float32(0.5)) * 21
    in_v = np.abs((v / 24 - lot_v).astype(np.float32) - np.float32(0.5)) * 24
    depth = np.float32(4.5) + np.float32(4.5) * unit(lot) + np.maximum(0, np.float32(2.5) - 4 * edge)
    built = (in_u < depth) & (in_v < depth * np.float32(1.15)) & (unit(lot, 1) < np.float32(0.93))
    street = (du * 110 < np.float32(4.5)) | (dv * 80 < np.float32(4.5))
    kind = np.where(built, np.uint8(Kind.HOUSE), np.uint8(Kind.GARDEN))
    kind[street] = Kind.STREET
    # now and then a whole block is a park
    green = unit(mix(seed + 3, block // 2, line // 2)) < np.float32(0.035)
    kind[green & ~street] = Kind.PARK
    return kind, unit(lot, 2)


def _halls(seed: int, u: Float64, v: Float64) -> tuple[UInt8, Float32]:
    """Large flat roofs, 40 to 150 m, on paved yards with some green."""
    block, du = intervals(seed, np.zeros(1, np.int64), u / 150)
    line, dv = intervals(seed + 1, block, v / 105)
    bits = mix(seed + 2, block, line)
    margin = np.float32(7) + np.float32(22) * unit(bits) ** 2
    roof = (du * 150 > margin) & (dv * 105 > margin * np.float32(0.8))
    kind = np.where(unit(bits, 1) < np.float32(0.6), np.uint8(Kind.BRIGHT_ROOF), np.uint8(Kind.DARK_ROOF))
    kind[~roof] = Kind.YARD
    green = unit(mix(seed + 3, block, line))
    kind[~roof & (green < np.float32(0.22)) & (np.minimum(du * 150, dv * 105) > np.float32(5))] = Kind.VERGE
    kind[roof & (green > np.float32(0.85))] = Kind.YARD
    return kind, unit(bits, 2) ** np.float32(1.6)


def nearest_town(seed: int, x: float, y: float) -> tuple[float, float]:
    """World metres of the middle of a larger town near a point."""
    layer = LAYERS[0]
    reach = layer.cell * 4
    found = sites(
        seed + layer.salt,
        np.linspace(x - reach, x + reach, 9)[None, :],
        np.linspace(y - reach, y + reach, 9)[:, None],
        layer.cell,
    )
    size = unit(found.bits, 1) * (unit(found.bits) < layer.chance)
    # the largest but those of the very first ranks: any size of town may be the sample
    order = np.argsort(-size, axis=None, kind="stable")
    best = np.unravel_index(int(order[int(abs(x)) % 24]), size.shape)
    return float(found.px[best]), float(found.py[best])
