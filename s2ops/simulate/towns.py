"""Settlements: where towns, villages and industrial estates lie, and what stands inside them.

A town has its own street direction. Its blocks are houses on small lots with gardens, or halls and yards; the latter
gather at one side of larger towns and make up whole estates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.constants import Bool, Float32, Float64, UInt8
from s2ops.simulate.ground_types import Kind
from s2ops.simulate.noise import Points, UInt32, distances, gather, intervals, mix, sites, unit, value_noise

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


def towns(seed: int, at: Points, people: Float32) -> Towns:
    """The town that each pixel is nearest to, by distance over radius; `people` (0..1) scales the radii."""
    edge = np.full(at.shape, 9.0, np.float32)
    bits = np.zeros(at.shape, np.uint32)
    for layer in LAYERS:
        found = sites(seed + layer.salt, at, layer.cell)
        sizes = layer.smallest + (layer.largest - layer.smallest) * unit(found.bits, 1) ** 4
        # an absent town is so small that no pixel is inside
        sizes = np.where(unit(found.bits) < layer.chance, sizes, np.float32(1.0)).astype(np.float32)
        for cell in found.cells:
            far = distances(found, at, cell)
            far /= gather(sizes, cell) * people
            closer = far < edge
            np.copyto(edge, far, where=closer)
            np.copyto(bits, gather(found.bits, cell), where=closer)
    return Towns(edge, bits)


def near_town(seed: int, x: float, y: float, rank: int) -> tuple[float, float]:
    """World metres of the middle of a larger town near a point; rank 0 is the largest within 28 km."""
    layer = LAYERS[0]
    reach = np.linspace(-4 * layer.cell, 4 * layer.cell, 9)
    found = sites(seed + layer.salt, Points(x + reach[None, :], y + reach[:, None], 0.0), layer.cell)
    size = unit(found.bits, 1) * (unit(found.bits) < layer.chance)
    order = np.argsort(-size, axis=None, kind="stable")
    best = np.unravel_index(int(order[rank]), size.shape)
    return float(found.px[best]), float(found.py[best])


def build(seed: int, at: Points, edge: Float32, bits: UInt32) -> tuple[UInt8, Float32]:
    """The kind and the variety (0..1, one value a building) of points inside towns; flat arrays (n,).

    `edge` and `bits` are those of `towns`.
    """
    u, v = at.turned((unit(bits, 2) * np.float32(np.pi / 2)).astype(np.float64))
    industry = _industrial(seed, at, edge, bits)
    style = mix(seed + 10, bits.astype(np.int64), np.zeros(1, np.int64))
    kind, variety = _houses(seed + 11, u, v, style, edge)
    kind[industry], variety[industry] = _halls(seed + 12, u[industry], v[industry])
    return kind, variety


def _industrial(seed: int, at: Points, edge: Float32, bits: UInt32) -> Bool:
    """Which points lie in industrial or commercial quarters: whole estates, or the fringe of larger towns."""
    estate = unit(mix(seed + 13, bits.astype(np.int64), np.zeros(1, np.int64))) < ESTATE
    quarter = value_noise(seed + 14, at, 900.0) + np.float32(0.35) * (edge - np.float32(0.6))
    quarter += np.float32(0.12) * value_noise(seed + 17, at, 170.0)
    return np.asarray(estate | (quarter > np.float32(0.36)))


def _houses(seed: int, u: Float64, v: Float64, style: UInt32, edge: Float32) -> tuple[UInt8, Float32]:
    """Blocks of some 90 m with streets between them and one house on each lot; denser towards the middle.

    A town's `style` makes its houses larger or smaller, its roofs redder or greyer, its streets wider.
    """
    block, du = intervals(seed, np.zeros(1, np.int64), u / 110)
    line, dv = intervals(seed + 1, block, v / 80)
    lot_u, lot_v = np.floor(u / 21).astype(np.int64), np.floor(v / 24).astype(np.int64)
    lot = mix(seed + 2, lot_u, lot_v)
    in_u = np.abs((u / 21 - lot_u).astype(np.float32) - np.float32(0.5)) * 21
    in_v = np.abs((v / 24 - lot_v).astype(np.float32) - np.float32(0.5)) * 24
    depth = 3 + 5 * unit(lot) + 4 * unit(style) - np.minimum(3 * edge, np.float32(3))
    built = (in_u < depth) & (in_v < depth * np.float32(1.15)) & (unit(lot, 1) < np.float32(0.92))
    width = np.float32(3.5) + np.float32(3) * unit(style, 1)
    street = (du * 110 < width) | (dv * 80 < width)
    kind = np.where(built, np.uint8(Kind.HOUSE), np.uint8(Kind.GARDEN))
    kind[street] = Kind.STREET
    # now and then a whole block is a park
    green = unit(mix(seed + 3, block // 2, line // 2)) < np.float32(0.035)
    kind[green & ~street] = Kind.PARK
    return kind, np.float32(0.55) * unit(lot, 2) + np.float32(0.45) * unit(style, 2)


def _halls(seed: int, u: Float64, v: Float64) -> tuple[UInt8, Float32]:
    """Large flat roofs, 25 to 120 m, on paved yards with some green, on blocks of some 250 m between streets."""
    block, du = intervals(seed, np.zeros(1, np.int64), u / 290)
    line, dv = intervals(seed + 1, block, v / 190)
    column, eu = intervals(seed + 2, block * 31 + line, u / 95)
    row, ev = intervals(seed + 3, column, v / 75)
    bits = mix(seed + 4, column, row)
    more = mix(seed + 5, column, row)
    gap = np.float32(3) + np.float32(20) * unit(bits) ** 2
    roof = (np.minimum(eu * 95, du * 290 - 6) > gap) & (np.minimum(ev * 75, dv * 190 - 6) > gap)
    roof &= unit(more) < np.float32(0.72)
    kind = np.where(unit(bits, 1) < np.float32(0.55), np.uint8(Kind.BRIGHT_ROOF), np.uint8(Kind.DARK_ROOF))
    kind[~roof] = Kind.YARD
    kind[~roof & (unit(more, 1) < np.float32(0.25)) & (np.minimum(du * 290, dv * 190) > np.float32(8))] = Kind.VERGE
    return kind, unit(bits, 2) ** np.float32(1.7)
