"""Palettes (spectral signature sets) of the simulated world: the colours that its ground types have.

The world has one fixed palette. Training also draws palettes of other biomes from measured and modelled spectra
(`biomes.py`), so that networks do not learn the colours of one region.
"""

from dataclasses import dataclass
from typing import Final

from s2ops.constants import Float32
from s2ops.simulate.ground_types import HIGH_SPECTRA, LOW_SPECTRA


@dataclass(frozen=True)
class Palette:
    """Two spectra per ground type, between which every pixel lies."""

    low: Float32
    """(band, type) surface reflectance of the lush or dark end."""
    high: Float32
    """(band, type) surface reflectance of the dry or bright end."""


WORLD_PALETTE: Final = Palette(LOW_SPECTRA, HIGH_SPECTRA)
"""Palette of the simulated world."""
