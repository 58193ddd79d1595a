"""Land-cover maps of real scenes for the world checks, made by `s2ops classify` as a user would call it.

Images in memory are written to temporary 8-bit files first, so that no part of the user's chain is left out: cloud
mask, date weights, heads, fusion.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from scipy import ndimage

from s2ops.constants import BANDS, Bool, Float32, UInt8
from s2ops.imaging.tone_curve import SCALE, apply_tone_curve, build_reflectance_table
from s2ops.raster.reader import read_all
from s2ops.single_image import ImageOptions, classify
from s2ops.training.datasets.real_scenes import RGBN_BANDS, RealScene, read_scenes

GRID_CRS: Final = "EPSG:32633"
"""Coordinate system of the temporary files; a map does not depend on it."""

WORLDCEREAL_EMPTY: Final = 65535
"""Digital number of no data in the monthly composites."""


class LandCoverMap(NamedTuple):
    """Output of `s2ops classify`: codes of `LandCover` and confidence in percent (255: no data), both (y, x)."""

    classes: UInt8
    confidence: UInt8


class SurfaceIndices(NamedTuple):
    """Reflectance (4, y, x) in the order of `BANDS`, NDVI and NDWI (y, x); no data has reflectance 0."""

    reflectance: Float32
    ndvi: Float32
    ndwi: Float32


def compute_indices(levels: UInt8) -> SurfaceIndices:
    """Compute reflectance, NDVI (Rouse 1974) and NDWI (McFeeters 1996) from levels (4, y, x)."""
    reflectance = np.nan_to_num(build_reflectance_table())[levels]
    red, green, _, nir = reflectance
    floor = np.float32(1e-4)
    return SurfaceIndices(
        reflectance, (nir - red) / np.maximum(nir + red, floor), (green - nir) / np.maximum(green + nir, floor)
    )


def encode_reflectance(reflectance: Float32) -> UInt8:
    """Encode reflectance of any shape as levels."""
    out: UInt8 = np.rint(apply_tone_curve(reflectance)).astype(np.uint8)
    return out


def extract_largest_body(mask: Bool) -> Bool:
    """Extract the largest connected part of a mask (y, x); nothing if the mask is empty."""
    parts, count = ndimage.label(mask)
    if not count:
        return mask
    out: Bool = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    return out


@dataclass
class WorldMaps:
    """Real scenes by name, and their maps; a map of scenes is made once."""

    root: Path
    """Folder of the real data."""
    folder: Path
    """Folder for temporary files."""
    options: ImageOptions
    _made: dict[tuple[str, ...], LandCoverMap] = field(default_factory=dict)

    @cached_property
    def scenes(self) -> dict[str, RealScene]:
        """All real scenes by name."""
        return {scene.name: scene for scene in read_scenes(self.root)}

    def list_clear_scenes(self, place: str) -> list[RealScene]:
        """List the scenes of a place without clouds."""
        return [scene for scene in self.scenes.values() if scene.place == place and scene.clear]

    def classify_files(self, sources: Sequence[Path], options: ImageOptions) -> LandCoverMap:
        """Classify files of one place, fused on the grid of the first.

        Args:
            sources: Image files, one per date.
            options: Bands and offset of the files; the weights are those of `self.options`.
        """
        target = self.folder / "classes.tif"
        given = replace(self.options, bands=options.bands, offset=options.offset)
        confidence = classify(sources, target, given)
        return LandCoverMap(read_all(str(target))[0], read_all(str(confidence))[0])

    def classify_levels(self, dates: Sequence[UInt8], res: float = 10) -> LandCoverMap:
        """Classify images (4, y, x) of one place with pixels of `res` metres, fused if there are several."""
        paths = []
        for number, levels in enumerate(dates):
            path = self.folder / f"date-{number}.tif"
            _, height, width = levels.shape
            with rasterio.open(
                path, "w", driver="GTiff", count=len(BANDS), height=height, width=width, dtype="uint8", crs=GRID_CRS,
                transform=Affine(res, 0, 500_000, 0, -res, 5_000_000),
            ) as raster:  # fmt: skip
                raster.write(levels)
            paths.append(path)
        return self.classify_files(paths, ImageOptions())

    def classify_scenes(self, *names: str) -> LandCoverMap:
        """Classify scenes of one place by name, fused if there are several; they must have one grid."""
        if names not in self._made:
            chosen = [self.scenes[name] for name in names]
            self._made[names] = self.classify_levels([scene.levels for scene in chosen], chosen[0].res)
        return self._made[names]


def read_l1c_levels(scene: RealScene) -> UInt8:
    """Encode the bands of an L1C scene as levels (4, y, x) without subtraction of the path reflectance."""
    return encode_reflectance(np.stack([scene.bands[band] for band in RGBN_BANDS]))


def read_worldcereal_months(root: Path) -> list[UInt8]:
    """Read the monthly composites of a field landscape in Belgium as levels (4, y, x); omit empty months."""
    file = root / "worldcereal_patch" / "worldcereal_preprocessed_inputs.nc"
    bands = []
    for band in RGBN_BANDS:
        with rasterio.open(f"netcdf:{file}:S2-L2A-{band}") as raster:
            bands.append(raster.read())
    numbers = np.stack(bands, axis=1)
    return [
        encode_reflectance(month.astype(np.float32) / np.float32(SCALE))
        for month in numbers
        if (month != WORLDCEREAL_EMPTY).all()
    ]


def read_zagreb_levels(root: Path) -> UInt8:
    """Read the clearest date of one whole tile at 120 m as levels (4, y, x)."""
    folder = next((root / "zagreb-two-tiles" / "sentinel-2-l2a").glob("S2?_33TWM_20230820_*"))
    bands = []
    for band in RGBN_BANDS:
        with rasterio.open(folder / f"{band}.tif") as raster:
            bands.append(raster.read(1))
    numbers = np.stack(bands)
    levels = encode_reflectance(numbers.astype(np.float32) / np.float32(SCALE))
    levels[:, (numbers == 0).any(axis=0)] = 0
    return levels
