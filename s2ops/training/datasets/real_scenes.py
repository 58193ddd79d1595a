"""Readers of the real Sentinel-2 scenes for training, in the folder `S2OPS_REAL_DATA` (see its README).

The two tiles at Zagreb are not included, since they are the acceptance test.
"""

import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.io import MemoryFile

from s2ops.constants import Float32, UInt8
from s2ops.imaging.tone_curve import SCALE, apply_tone_curve
from s2ops.training.datasets.packed_scenes import RAYLEIGH_REFLECTANCE

RGBN_BANDS: Final = ("B04", "B03", "B02", "B08")
"""Band names of red, green, blue, nir, in the order of `BANDS`."""


@dataclass(frozen=True)
class RealScene:
    """Real scene of one place on one date."""

    name: str
    place: str
    """Place, by which training and validation are split."""
    res: int
    """Pixel size in metres."""
    levels: UInt8
    """Levels of the tone curve (4, y, x); 0 is no data."""
    clear: bool
    """True if it is free of clouds by visual inspection; simulated clouds are then added to it."""
    bands: dict[str, Float32] = field(default_factory=dict)
    """Reflectance (y, x) of every band on the same grid, for teachers that need more than four."""
    scl: UInt8 | None = None
    """ESA's scene classification (y, x), if the data set contains it."""
    l1c: bool = False
    """True if the bands are L1C (top of atmosphere), False if they are L2A."""
    grid: GeoBox | None = None
    """Pixel grid, for scenes with polygons."""


def encode_levels(reflectance: Float32) -> UInt8:
    """Encode reflectance (4, y, x) as levels; pixels that are 0 in all bands are no data."""
    levels: UInt8 = np.rint(apply_tone_curve(reflectance)).astype(np.uint8)
    levels[:, (reflectance == 0).all(axis=0)] = 0
    return levels


def _build_scene(name: str, place: str, res: int, bands: dict[str, Float32], **extra: object) -> RealScene:
    """Build a scene from reflectance by band name; the path reflectance of clear air is subtracted from L1C."""
    picked = np.stack([bands[band] for band in RGBN_BANDS])
    if extra.get("l1c"):
        empty = (picked == 0).all(axis=0)
        picked = np.maximum(picked - np.array(RAYLEIGH_REFLECTANCE, np.float32)[:, None, None], 0.001)
        picked[:, empty] = 0
    return RealScene(name, place, res, encode_levels(picked), bands=bands, **extra)  # type: ignore[arg-type]


def _to_reflectance(numbers: np.ndarray, offset: int = 0) -> Float32:
    """Convert digital numbers to reflectance; 0 stays no data."""
    out = (numbers.astype(np.float32) + offset) / SCALE
    return np.where(numbers == 0, np.float32(0), np.maximum(out, np.float32(0.0001)))


def _read_boadella(root: Path) -> Iterator[RealScene]:
    """Read the series of Boadella: twelve L2A bands at 10 m, by date."""
    order = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    veiled = {"2020-01-13", "2020-01-18", "2020-01-23", "2021-06-26"}
    for path in sorted((root / "boadella-series").glob("*.tif")):
        with rasterio.open(path) as raster:
            data = _to_reflectance(raster.read())
        date = path.stem.split("_")[1]
        bands = dict(zip(order, data, strict=True))
        yield _build_scene(f"boadella-{date}", "boadella", 10, bands, clear=date not in veiled)


def _read_exeter(root: Path) -> Iterator[RealScene]:
    """Read the series of Exeter: four L2A bands and SCL at 20 m, by date."""
    for path in sorted((root / "exeter-series").glob("*.tif")):
        with rasterio.open(path) as raster:
            data = raster.read()
        bands = dict(zip(("B02", "B03", "B04", "B08"), _to_reflectance(data[:4], -1000), strict=True))
        date = path.stem.split("_")[1]
        scl = data[4].astype(np.uint8)
        yield _build_scene(f"exeter-{date}", "exeter", 20, bands, clear=date == "2024-06-02", scl=scl)


def _read_zurich(root: Path) -> Iterator[RealScene]:
    """Read the scene of Zurich with its grid."""
    path = next((root / "zurich").glob("*.xz"))
    with MemoryFile(lzma.decompress(path.read_bytes())) as memory, memory.open() as raster:
        bands = dict(zip(raster.descriptions, _to_reflectance(raster.read()), strict=True))
        grid = GeoBox(raster.shape, raster.transform, str(raster.crs))
    yield _build_scene("zurich-2019-05-30", "zurich", 10, bands, clear=False, grid=grid)


def _read_brandenburg(root: Path) -> Iterator[RealScene]:
    """Read the L1C scene of Brandenburg with its grid."""
    bands = {}
    for path in sorted((root / "brandenburg" / "IMG_DATA").glob("*.jp2")):
        with rasterio.open(path) as raster:
            # nearest neighbour, so that no data stays no data
            bands[path.stem.split("_")[-1]] = _to_reflectance(raster.read(1, out_shape=(768, 1536)))
            if raster.shape == (768, 1536):
                grid = GeoBox(raster.shape, raster.transform, str(raster.crs))
    yield _build_scene("brandenburg-2017-02-16", "brandenburg", 10, bands, clear=False, l1c=True, grid=grid)


def _read_virginia(root: Path) -> Iterator[RealScene]:
    """Read the L1C scene of Virginia."""
    bands = {}
    with tarfile.open(next((root / "virginia").glob("*.tar.xz"))) as archive:
        for member in archive.getmembers():
            band = Path(member.name).stem.removeprefix("s2_")
            stream = archive.extractfile(member)
            if band in RGBN_BANDS and stream is not None:
                with MemoryFile(stream.read()) as memory, memory.open() as raster:
                    bands[band] = _to_reflectance(raster.read(1))
    yield _build_scene("virginia", "virginia", 10, bands, clear=True, l1c=True)


def _read_npz_crops(root: Path) -> Iterator[RealScene]:
    """Read the small crops that are .npz files."""
    for file, place, l1c in (
        ("dsen2_l1c_crops/S2A_MSIL1C_20170527_T33UUB.npz", "dsen2-germany", True),
        ("dsen2_l1c_crops/S2B_MSIL1C_20171022_T49JGM.npz", "dsen2-australia", True),
        ("spyndex_s2_10m/S2_10m.npz", "spyndex", False),
        ("xrspatial_patagonia/sentinel2_19G.npz", "patagonia", False),
    ):
        with np.load(root / file, allow_pickle=False) as data:
            bands = {
                str(name): _to_reflectance(band)
                for name, band in zip(data["bands"], data["x"], strict=False)  # B08 may be without a name
            }
            if "B08" not in bands:
                bands["B08"] = _to_reflectance(data["x"][3])
        yield _build_scene(place, place, 10, bands, clear=True, l1c=l1c)


def read_scenes(root: Path) -> Iterator[RealScene]:
    """Read all real scenes for training and validation, in a fixed order."""
    for reader in (_read_boadella, _read_exeter, _read_zurich, _read_brandenburg, _read_virginia, _read_npz_crops):
        yield from reader(root)


def convert_scl_to_mask(scl: UInt8) -> UInt8:
    """Convert ESA's scene classification (SCL) to a mask.

    Thin cirrus counts as cloud; dark areas, saturated and unclassified pixels are unknown.

    Returns:
        Mask of the same shape: 0 clear, 1 cloud, 2 shadow, 255 unknown.
    """
    table = np.full(256, 255, np.uint8)
    table[[4, 5, 6, 11]] = 0
    table[[8, 9, 10]] = 1
    table[3] = 2
    out: UInt8 = table[scl]
    return out


def read_eurosat_ms(root: Path) -> tuple[list[str], UInt8]:
    """Read class labels and levels (n, 4, 64, 64) of the EuroSAT chips with all bands."""
    with np.load(root / "eurosat_ms_200" / "eurosat_ms_200.npz", allow_pickle=False) as data:
        numbers = data["x"][:, [3, 2, 1, 7]].astype(np.float32) / SCALE
        labels = [str(label) for label in data["label"]]
    reflectance = np.maximum(numbers - np.array(RAYLEIGH_REFLECTANCE, np.float32)[:, None, None], 0.001)
    return labels, np.rint(apply_tone_curve(reflectance)).astype(np.uint8)
