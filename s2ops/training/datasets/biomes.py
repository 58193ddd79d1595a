"""Biomes (palettes of foreign ground): spectral signatures of the simulated world drawn from a spectral library.

Each sample of the pool `biomes` shows the simulated world in the colours of one biome: its soils, plants, roofs, roads
and waters. Classes keep their texture and lose their colour. Halls may be dark or red, houses bright, meadows as dark
as a wood, rock white with snow, water brown with silt.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import ndimage

from s2ops.constants import Bool, Float32, LandCover, UInt8
from s2ops.simulate.ground_types import HIGH_SPECTRA, LOW_SPECTRA, GroundType
from s2ops.simulate.palette import Palette
from s2ops.training.datasets.spectral_library import SpectralLibrary, compute_library_ndvi
from s2ops.training.datasets.vegetation_labels import MIN_GRASS_NDVI, MIN_TREE_NDVI

NDVI_WINDOW_PX: Final = 5
"""Side of the window in which NDVI is averaged for labels, pixels."""

KEPT_TYPE_PROBABILITY: Final = 0.15
"""Probability that a ground type keeps the signature of the simulated world."""

SWAP_PROBABILITY: Final = 0.3
"""Probability that meadows and woods have each other's colours."""

SNOW_PROBABILITY: Final = 0.15
"""Probability that rock, steppe and soil of a biome are partly covered with snow."""

_Pair = tuple[Float32, Float32]


@dataclass(frozen=True)
class BiomeSampler:
    """Sampler of the spectra of one biome; every spectrum is (4,): red, green, blue, nir."""

    library: SpectralLibrary
    rng: np.random.Generator

    def draw_palette(self) -> Palette:
        """Draw a palette: two spectra for each ground type."""
        rng = self.rng
        pairs = self._draw_natural_pairs() | self._draw_built_pairs()
        if rng.random() < SNOW_PROBABILITY:
            for kind in (GroundType.ROCK, GroundType.STEPPE, GroundType.SOIL):
                pairs[kind] = (pairs[kind][0], self.pick("snow") * np.float32(rng.uniform(0.5, 1)))
        low, high = LOW_SPECTRA.copy(), HIGH_SPECTRA.copy()
        for kind, pair in pairs.items():
            if rng.random() >= KEPT_TYPE_PROBABILITY:
                low[:, kind], high[:, kind] = pair
        return Palette(low, high)

    def pick(self, material: str) -> Float32:
        """Pick one spectrum of a material."""
        found = self.library[material]
        out: Float32 = found[self.rng.integers(len(found))]
        return out

    def pick_plants(self, least: float, most: float) -> Float32:
        """Pick a canopy whose NDVI lies in a range."""
        found = self.library["canopy"]
        ndvi = compute_library_ndvi(found)
        out: Float32 = found[self.rng.choice(np.flatnonzero((ndvi >= least) & (ndvi <= most)))]
        return out

    def pick_soil(self) -> Float32:
        """Pick a soil of any moisture: wet soil reflects half as much as dry soil."""
        return self.pick("soil") * np.float32(self.rng.uniform(0.3, 1.0))

    def draw_water(self) -> Float32:
        """Draw the reflectance of water, from clear and deep to brown with silt, or shallow over sand.

        Sediment raises red before near infrared, and near infrared stays below green (Doxaran et al. 2002).
        """
        rng = self.rng
        silt = rng.beta(0.6, 1.6)
        chlorophyll = rng.beta(0.7, 2.0)
        spectrum = np.array([0.004, 0.010, 0.022 * (1 - 0.8 * chlorophyll), 0.002])
        spectrum += chlorophyll * np.array([0.008, 0.045, 0.004, 0.006])
        colour = np.array([0.20, 0.165, 0.10, 0.14]) * rng.uniform(0.75, 1.25, 4)
        spectrum += colour * np.array([silt, silt**0.8, silt**0.9, silt**1.6])
        if rng.random() < 0.2:  # shallow water over sand: blue and green come back from the bottom
            spectrum += rng.uniform(0, 0.25) * np.array([0.25, 0.9, 0.8, 0.02])
        spectrum[3] = min(spectrum[3], 0.9 * spectrum[1])
        return spectrum.astype(np.float32)

    def draw_tree_canopy(self) -> Float32:
        """Draw the reflectance of a wood: a canopy darkened by the shade between crowns."""
        return self.pick_plants(0.62, 0.96) * np.float32(self.rng.uniform(0.45, 1.0))

    def draw_roof(self) -> Float32:
        """Draw the reflectance of a roof of any colour: shingles and tiles, or bright metal and paint."""
        roof = self.pick("roof" if self.rng.random() < 0.75 else "road")
        if self.rng.random() < 0.3:
            white = np.float32(self.rng.uniform(0.3, 0.75))
            roof = np.float32(0.3) * roof + np.float32(0.7) * white
        return roof

    def _draw_natural_pairs(self) -> dict[GroundType, _Pair]:
        rng = self.rng
        soils = [self.pick_soil() for _ in range(3)]
        dry = [self.pick("dry") * np.float32(0.6) + soils[0] * np.float32(0.4), self.pick_plants(0.2, 0.5)]
        wood, meadow = self.draw_tree_canopy(), self.pick_plants(0.6, 0.95)
        conifer = self.draw_tree_canopy() * np.float32(rng.uniform(0.5, 0.9))
        lush = rng.random()  # how green the biome is
        pairs = {
            GroundType.BROADLEAF: (wood, self.pick_plants(0.5, 0.8) * np.float32(rng.uniform(0.6, 1))),
            GroundType.CONIFER: (conifer, self.draw_tree_canopy()),
            GroundType.SHRUB: (self.pick_plants(0.3, 0.75), self.pick_plants(0.2, 0.55)),
            GroundType.MEADOW: (meadow, dry[rng.integers(2)] if lush < 0.6 else self.pick_plants(0.45, 0.8)),
            GroundType.CROP: (self.pick_plants(0.6, 0.95), dry[rng.integers(2)]),
            GroundType.PARK: (self.pick_plants(0.5, 0.95), self.pick_plants(0.35, 0.7)),
            GroundType.STEPPE: (self.pick_plants(0.25, 0.6), dry[rng.integers(2)]),
            GroundType.SOIL: (soils[0], soils[1]),
            GroundType.DESERT: (soils[2], self.pick("soil")),
            GroundType.ROCK: (self.pick("gravel"), soils[1]),
            GroundType.SAND: (self.pick("soil"), self.pick("salt" if rng.random() < 0.6 else "sand")),
            GroundType.QUARRY: (self.pick("gravel"), self.pick("salt")),
        }
        if rng.random() < 0.15:
            pairs[GroundType.SOIL] = (self.pick("burned"), soils[0])
        if rng.random() < SWAP_PROBABILITY:
            pairs[GroundType.MEADOW] = (wood * np.float32(rng.uniform(0.8, 1.5)), pairs[GroundType.MEADOW][1])
            pairs[GroundType.BROADLEAF] = (meadow * np.float32(rng.uniform(0.6, 1.0)), pairs[GroundType.BROADLEAF][1])
            pairs[GroundType.CROP] = (conifer * np.float32(rng.uniform(0.9, 1.6)), pairs[GroundType.CROP][1])
        for kind in (GroundType.SEA, GroundType.LAKE, GroundType.RIVER):
            pairs[kind] = (self.draw_water(), self.draw_water())
        return pairs

    def _draw_built_pairs(self) -> dict[GroundType, _Pair]:
        rng = self.rng
        garden = self.pick_plants(0.2, 0.9) if rng.random() < 0.75 else self.pick_soil()
        road = self.pick("road")
        yard = road * np.float32(0.5) + self.pick("road") * np.float32(0.5)
        return {
            GroundType.ROAD: (road, self.pick("road")),
            GroundType.STREET: (road, self.pick("road") if rng.random() < 0.7 else self.pick_soil()),
            GroundType.HOUSE: (self.draw_roof(), self.draw_roof()),
            GroundType.GARDEN: (garden, self.pick_plants(0.2, 0.7)),
            GroundType.BRIGHT_ROOF: (self.draw_roof(), np.float32(rng.uniform(0.3, 0.8)) * np.ones(4, np.float32)),
            GroundType.DARK_ROOF: (self.pick("road"), self.draw_roof()),
            GroundType.YARD: (yard, self.pick("road") if rng.random() < 0.6 else self.pick_soil()),
            GroundType.VERGE: (garden, yard),
        }


def relabel_by_greenness(cover: UInt8, image: Float32, lasting: Bool | None = None) -> UInt8:
    """Relabel woods and grass that are not green: a class of plants without plants is not that class.

    Args:
        cover: Cover codes (y, x).
        image: True surface reflectance (4, y, x).
        lasting: Woods that are leafless for a season only (y, x): unknown instead of relabelled.

    Returns:
        Cover codes (y, x): woods with an NDVI below `MIN_TREE_NDVI` are grass, and grass below `MIN_GRASS_NDVI` is
        barren. A band of 0.05 below each limit is unknown.
    """
    mean = [ndimage.uniform_filter(image[band], NDVI_WINDOW_PX) for band in (0, 3)]
    ndvi = (mean[1] - mean[0]) / np.maximum(mean[1] + mean[0], np.float32(0.01))
    out = cover.copy()
    wood = cover == LandCover.TREE
    out[wood & (ndvi < MIN_TREE_NDVI)] = LandCover.GRASS
    out[(out == LandCover.GRASS) & (ndvi < MIN_GRASS_NDVI)] = LandCover.BARREN
    out[wood & (ndvi < MIN_TREE_NDVI) & (ndvi >= MIN_TREE_NDVI - 0.05)] = LandCover.NODATA
    out[(cover == LandCover.GRASS) & (ndvi < MIN_GRASS_NDVI) & (ndvi >= MIN_GRASS_NDVI - 0.05)] = LandCover.NODATA
    if lasting is not None:
        out[lasting & (ndvi < MIN_TREE_NDVI)] = LandCover.NODATA
    return out
