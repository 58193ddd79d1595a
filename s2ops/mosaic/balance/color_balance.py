"""One radiometry for the whole region: a correction per tile and band from what neighbours show in their overlaps.

The measuring is `agreement.py`, the equations are `solver.py`; what no overlap sees, light that falls alike over every
tile, is decided in `light.py`. Here the three are put together.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from s2ops.constants import BANDS
from s2ops.mosaic.balance.correction_plane import UNCHANGED, Correction
from s2ops.mosaic.balance.illumination_gradient import Land, Light, raised, shared_light
from s2ops.mosaic.balance.least_squares import Solver, system_of
from s2ops.mosaic.balance.overlap_statistics import Overlap


class Balanced(NamedTuple):
    """The corrections of all tiles, and the light that was found to be shared by all."""

    corrections: dict[str, Correction]
    """By name, sorted."""
    light: Light


def balance(
    tiles: Iterable[str],
    overlaps: Sequence[Overlap],
    lands: Mapping[str, Land],
    frozen: Mapping[str, Correction] | None = None,
    light: Light | None = None,
) -> Balanced:
    """The correction of each tile, clipped and rounded as `Correction.of` does.

    Those in `frozen` are given back as they are, and the others join them; then `light` is what was found when they
    were made. No order of tiles or overlaps changes a correction. `lands` are the planes of all tiles. Raises
    RasterError for an overlap with a tile that is not among `tiles`.
    """
    names, kept = sorted(set(tiles)), dict(frozen or {})
    system = system_of(names, overlaps, kept)
    known = Light() if light is None else light
    if not len(system.apart):
        return Balanced({name: kept.get(name, UNCHANGED) for name in names}, known)
    solver = Solver(system)
    plain = [solver.robust(band, system.apart[:, band]) for band in range(len(BANDS))]
    if light is None:
        known = shared_light(solver, plain, overlaps, lands)
    before, solved = raised(system, known), np.stack([solution for solution, _ in plain])
    if known != Light():
        left = system.apart - (system.design @ before)[:, None]
        solved = np.stack([solver.robust(band, left[:, band])[0] for band in range(len(BANDS))]) + before
    each = solved.reshape(len(BANDS), -1, 3)
    made = {name: Correction.of(each[:, number]) for number, name in enumerate(system.names)}
    return Balanced({name: kept[name] if name in kept else made[name] for name in names}, known)
