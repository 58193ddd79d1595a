"""Settlements (towns, villages, industrial estates) of the simulated ground and the buildings inside them.

A town has its own street direction. Its blocks contain houses on small lots with gardens, or halls and yards; the
latter lie at one side of larger towns and form whole estates.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.constants import Bool, Float32, Float64, UInt8
from s2ops.simulate.ground_types import GroundType
from s2ops.simulate.noise import (
    SamplePoints,
    UInt32,
    compute_distances,
    compute_value_noise,
    find_intervals,
    find_sites,
    gather,
    hash_cells,
    to_unit,
)

ESTATE_FRACTION: Final = 0.22
"""Fraction of the towns that are industrial estates only."""


@dataclass(frozen=True)
class SettlementClass:
    """Size class of settlements: a jittered grid with at most one settlement per cell."""

    salt: int
    cell: float
    """Distance between neighbours in metres."""
    smallest: float
    largest: float
    """Range of the radius in metres."""
    chance: float
    """Fraction of the cells with a settlement."""


SETTLEMENT_CLASSES: Final = (
    SettlementClass(salt=101, cell=7000.0, smallest=350.0, largest=3500.0, chance=0.9),
    SettlementClass(salt=102, cell=2300.0, smallest=90.0, largest=360.0, chance=0.45),
)


@dataclass(frozen=True)
class TownMap:
    """Nearest town of each pixel, arrays (y, x)."""

    edge: Float32
    """Distance from the centre over the radius: below 1 is inside (without the ragged border)."""
    bits: UInt32
    """Random bits of the town."""


def find_towns(seed: int, at: SamplePoints, people: Float32) -> TownMap:
    """Find the nearest town of each pixel by distance over radius; `people` (0 to 1.1) scales the radii."""
    edge = np.full(at.shape, 9.0, np.float32)
    bits = np.zeros(at.shape, np.uint32)
    for layer in SETTLEMENT_CLASSES:
        found = find_sites(seed + layer.salt, at, layer.cell)
        sizes = layer.smallest + (layer.largest - layer.smallest) * to_unit(found.bits, 1) ** 4
        # an absent town is so small that no pixel is inside
        sizes = np.where(to_unit(found.bits) < layer.chance, sizes, np.float32(1.0)).astype(np.float32)
        for cell in found.cells:
            far = compute_distances(found, at, cell)
            far /= gather(sizes, cell) * people
            closer = far < edge
            np.copyto(edge, far, where=closer)
            np.copyto(bits, gather(found.bits, cell), where=closer)
    return TownMap(edge, bits)


def find_large_town(seed: int, x: float, y: float, rank: int) -> tuple[float, float]:
    """Find the centre (world metres) of a larger town near a point; rank 0 is the largest within 28 km."""
    layer = SETTLEMENT_CLASSES[0]
    reach = np.linspace(-4 * layer.cell, 4 * layer.cell, 9)
    found = find_sites(seed + layer.salt, SamplePoints(x + reach[None, :], y + reach[:, None], 0.0), layer.cell)
    size = to_unit(found.bits, 1) * (to_unit(found.bits) < layer.chance)
    order = np.argsort(-size, axis=None, kind="stable")
    best = np.unravel_index(int(order[rank]), size.shape)
    return float(found.px[best]), float(found.py[best])


def build_town(seed: int, at: SamplePoints, edge: Float32, bits: UInt32) -> tuple[UInt8, Float32]:
    """Build the settlements at points inside towns.

    Args:
        seed: Seed of the ground.
        at: Points, flat arrays (n,).
        edge: `TownMap.edge` of the points.
        bits: `TownMap.bits` of the points.

    Returns:
        Ground type and variety (0 to 1, constant per building), (n,).
    """
    u, v = at.rotate((to_unit(bits, 2) * np.float32(np.pi / 2)).astype(np.float64))
    industry = _find_industrial(seed, at, edge, bits)
    style = hash_cells(seed + 10, bits.astype(np.int64), np.zeros(1, np.int64))
    kind, variety = _build_houses(seed + 11, u, v, style, edge)
    kind[industry], variety[industry] = _build_halls(seed + 12, u[industry], v[industry])
    return kind, variety


def _find_industrial(seed: int, at: SamplePoints, edge: Float32, bits: UInt32) -> Bool:
    """Find points in industrial or commercial quarters: whole estates, or the fringe of larger towns."""
    estate = to_unit(hash_cells(seed + 13, bits.astype(np.int64), np.zeros(1, np.int64))) < ESTATE_FRACTION
    quarter = compute_value_noise(seed + 14, at, 900.0) + np.float32(0.35) * (edge - np.float32(0.6))
    quarter += np.float32(0.12) * compute_value_noise(seed + 17, at, 170.0)
    return np.asarray(estate | (quarter > np.float32(0.36)))


def _build_houses(seed: int, u: Float64, v: Float64, style: UInt32, edge: Float32) -> tuple[UInt8, Float32]:
    """Build blocks of some 90 m with streets between them and one house per lot, denser towards the centre.

    A town's `style` controls the size of its houses, the colour of its roofs and the width of its streets.
    """
    block, du = find_intervals(seed, np.zeros(1, np.int64), u / 110)
    line, dv = find_intervals(seed + 1, block, v / 80)
    lot_u, lot_v = np.floor(u / 21).astype(np.int64), np.floor(v / 24).astype(np.int64)
    lot = hash_cells(seed + 2, lot_u, lot_v)
    in_u = np.abs((u / 21 - lot_u).astype(np.float32) - np.float32(0.5)) * 21
    in_v = np.abs((v / 24 - lot_v).astype(np.float32) - np.float32(0.5)) * 24
    depth = 3 + 5 * to_unit(lot) + 4 * to_unit(style) - np.minimum(3 * edge, np.float32(3))
    built = (in_u < depth) & (in_v < depth * np.float32(1.15)) & (to_unit(lot, 1) < np.float32(0.92))
    width = np.float32(3.5) + np.float32(3) * to_unit(style, 1)
    street = (du * 110 < width) | (dv * 80 < width)
    kind = np.where(built, np.uint8(GroundType.HOUSE), np.uint8(GroundType.GARDEN))
    kind[street] = GroundType.STREET
    # some whole blocks are parks
    green = to_unit(hash_cells(seed + 3, block // 2, line // 2)) < np.float32(0.035)
    kind[green & ~street] = GroundType.PARK
    return kind, np.float32(0.55) * to_unit(lot, 2) + np.float32(0.45) * to_unit(style, 2)


def _build_halls(seed: int, u: Float64, v: Float64) -> tuple[UInt8, Float32]:
    """Build halls with flat roofs of 25 to 120 m on paved yards with some green, in blocks of some 250 m."""
    block, du = find_intervals(seed, np.zeros(1, np.int64), u / 290)
    line, dv = find_intervals(seed + 1, block, v / 190)
    column, eu = find_intervals(seed + 2, block * 31 + line, u / 95)
    row, ev = find_intervals(seed + 3, column, v / 75)
    bits = hash_cells(seed + 4, column, row)
    more = hash_cells(seed + 5, column, row)
    gap = np.float32(3) + np.float32(20) * to_unit(bits) ** 2
    roof = (np.minimum(eu * 95, du * 290 - 6) > gap) & (np.minimum(ev * 75, dv * 190 - 6) > gap)
    roof &= to_unit(more) < np.float32(0.72)
    kind = np.where(
        to_unit(bits, 1) < np.float32(0.55), np.uint8(GroundType.BRIGHT_ROOF), np.uint8(GroundType.DARK_ROOF)
    )
    kind[~roof] = GroundType.YARD
    kind[~roof & (to_unit(more, 1) < np.float32(0.25)) & (np.minimum(du * 290, dv * 190) > np.float32(8))] = (
        GroundType.VERGE
    )
    return kind, to_unit(bits, 2) ** np.float32(1.7)
