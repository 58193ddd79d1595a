"""Users' ground truth: data set of GeoTIFF images with label rasters or polygons, read into pools of samples.

Every image is cut into square samples. Its labels become land-cover and mask codes, so that one folder can train all
networks that have its classes. Training and validation are split by file, that is by place.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, Literal

import numpy as np
import rasterio
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from s2ops.constants import BANDS, Int32, LandCover, Mask, UInt8
from s2ops.errors import ConfigError, RasterError
from s2ops.models.registry import TRAINABLE
from s2ops.raster.image_file import ImageFile
from s2ops.training.datasets.folder_config import FolderConfig
from s2ops.training.datasets.label_rasters import UNLABELLED, rasterize_labels, read_label_raster
from s2ops.training.datasets.pools import BUILT, IGNORE, Pool, Sample, derive_labels

_COVER_CODES: Final[dict[str, int]] = {
    "water": LandCover.WATER, "grass": LandCover.GRASS, "tree": LandCover.TREE,
    "residential": LandCover.RESIDENTIAL, "industrial": LandCover.INDUSTRIAL, "barren": LandCover.BARREN,
    "built": BUILT,
}  # fmt: skip
_MASK_CODES: Final[dict[str, int]] = {"clear": Mask.CLEAR, "cloud": Mask.CLOUD, "shadow": Mask.SHADOW}

VECTOR_SUFFIXES: Final = (".geojson", ".json", ".gpkg")
"""Suffixes of label polygons."""

RASTER_SUFFIXES: Final = (".tif", ".tiff")
"""Suffixes of images and label rasters."""


def make_folder_pools(network: str, folders: Sequence[FolderConfig], size: int) -> dict[str, Pool]:
    """Make a pool NAME for training from each folder and, if its `val` names files, NAME-val for validation.

    Args:
        network: Name of the network.
        folders: Configurations of the folders.
        size: Side of the samples in pixels.

    Returns:
        Pools by name.

    Raises:
        ConfigError: If a folder, its labels or its configuration cannot be used for the network.
        RasterError: If an image or its labels are broken, or do not overlap.
    """
    if network == "preview-haze":
        raise ConfigError(
            "Cannot train preview-haze on folders: it needs one label per image, not per pixel; use `sources`."
        )
    names = [folder.pool for folder in folders]
    if len(set(names)) < len(names):
        raise ConfigError(f"Two folders have the same name: {', '.join(names)}; give each its own `name`.")
    pools = {}
    for folder in folders:
        images = _list_images(folder)
        held = [path for path in images if _is_held_out(path, folder)]
        for suffix, chosen in (("", [path for path in images if path not in held]), ("-val", held)):
            samples = [sample for path in chosen for sample in _read_samples(path, folder, size)]
            if chosen:
                pools[folder.pool + suffix] = _build_pool(network, folder, chosen, samples)
    return pools


def _build_pool(network: str, folder: FolderConfig, chosen: list[Path], samples: list[Sample]) -> Pool:
    """Build the pool; raise ConfigError if its labels contain none of the network's classes."""
    pool = Pool.from_samples(samples) if samples else None
    if pool is None or (derive_labels(network, pool) == IGNORE).all():
        files = ", ".join(path.name for path in chosen[:3])
        raise ConfigError(
            f"The labels in {folder.labels} contain no class of {network} "
            f"({', '.join(TRAINABLE[network].classes)}) in {files}; map their values in `classes`."
        )
    return pool


def _list_images(folder: FolderConfig) -> list[Path]:
    """List the images of a folder; raise ConfigError if there are none to train on."""
    try:
        found = sorted(path for path in folder.images.iterdir() if path.suffix.lower() in RASTER_SUFFIXES)
    except OSError as error:
        raise ConfigError(f"Cannot list the images in {folder.images}: {error.strerror}; check `images`.") from error
    if not found:
        raise ConfigError(
            f"Cannot find images in {folder.images}: it has no GeoTIFF (.tif); give the folder of the images."
        )
    for pattern in folder.val:
        if not any(fnmatch(path.name, pattern) or path.stem == pattern for path in found):
            raise ConfigError(
                f"val {pattern!r} matches no image in {folder.images}; the images are {_join_names(found)}."
            )
    if all(_is_held_out(path, folder) for path in found):
        raise ConfigError(
            f"val {', '.join(folder.val)} holds out every image in {folder.images}; leave some for training."
        )
    return found


def _is_held_out(path: Path, folder: FolderConfig) -> bool:
    """Return whether an image is held out for validation."""
    return any(fnmatch(path.name, pattern) or path.stem == pattern for pattern in folder.val)


def _join_names(paths: Sequence[Path]) -> str:
    """Join the names of at most five files."""
    return ", ".join(path.name for path in paths[:5]) + (", ..." if len(paths) > 5 else "")


def _read_samples(path: Path, folder: FolderConfig, size: int) -> Iterator[Sample]:
    """Read the windows of one image that have a label, row by row; the last of a row ends at the image's edge."""
    with ExitStack() as stack:
        try:
            src = stack.enter_context(rasterio.open(path))
            if src.crs is None:
                raise RasterError(
                    f"Cannot use {path}: it has no coordinate system; add one, for example with gdal_edit.py -a_srs."
                )
            grid = GeoBox(src.shape, src.transform, str(src.crs))
            levels = ImageFile(src, grid, _select_bands(src, path, folder), folder.offset).read(0, grid.height)
        except RasterioError as error:
            raise RasterError(f"Cannot read {path}: {error}; give a complete GeoTIFF.") from error
    codes = _read_label_codes(path, folder, grid)
    cover, mask = _build_code_tables(folder)
    land, sky = cover[codes], mask[codes]
    empty = (levels == 0).any(axis=0)
    land[empty], sky[empty] = LandCover.NODATA, Mask.NODATA
    known = (land != LandCover.NODATA) | (sky != Mask.NODATA)
    for top in _list_window_starts(grid.height, size):
        for left in _list_window_starts(grid.width, size):
            window = slice(top, top + size), slice(left, left + size)
            if known[window].any():
                yield (
                    _pad(levels[:, *window], size, "reflect"),
                    _pad(land[window], size, LandCover.NODATA),
                    _pad(sky[window], size, Mask.NODATA),
                )


def _list_window_starts(length: int, size: int) -> list[int]:
    """List the first pixels of the windows along one axis."""
    return sorted({*range(0, max(length - size, 0), size), max(length - size, 0)})


def _pad(array: UInt8, size: int, fill: Literal["reflect"] | int) -> UInt8:
    """Pad a short image to `size`: pixels by reflection, labels with the code for unknown."""
    short = [(0, 0)] * (array.ndim - 2) + [(0, max(size - side, 0)) for side in array.shape[-2:]]
    if isinstance(fill, str):
        return np.pad(array, short, mode=fill)
    return np.pad(array, short, constant_values=fill)


def _select_bands(src: DatasetReader, path: Path, folder: FolderConfig) -> tuple[int, ...]:
    """Return the numbers of red, green, blue, nir; raise ConfigError if the image lacks one."""
    wanted = folder.bands or (1, 2, 3, 4)
    if max(wanted) > src.count or min(wanted) < 1 or (folder.bands is None and src.count != len(BANDS)):
        needed = "" if folder.bands is None else f", but `bands` names {', '.join(map(str, wanted))}"
        raise ConfigError(
            f"{path} has {src.count} bands{needed}; give the numbers of red, green, blue and nir as `bands`."
        )
    return wanted


def _read_label_codes(path: Path, folder: FolderConfig, grid: GeoBox) -> Int32:
    """Read the labels of an image: index into `classes` (y, x), `UNLABELLED` where the class is unknown."""
    source = folder.labels
    if source.is_dir():
        beside = [source / f"{path.stem}{suffix}" for suffix in (*RASTER_SUFFIXES, *VECTOR_SUFFIXES)]
        source = next((candidate for candidate in beside if candidate.exists()), source)
        if source == folder.labels:
            raise ConfigError(
                f"{folder.labels} has no labels for {path.name}; add {beside[0].name}, or polygons of that name."
            )
    elif not source.exists():
        raise ConfigError(f"There are no labels at {source}; give a folder, a GeoJSON or a GeoPackage.")
    keys = [str(key) for key in folder.classes]
    if source.suffix.lower() in RASTER_SUFFIXES:
        codes = read_label_raster(source, grid, keys)
    else:
        codes = rasterize_labels(source, grid, keys, folder.attribute)
    if (codes == UNLABELLED).all():
        raise RasterError(f"The labels in {source} do not overlap the image {path}; check both coordinate systems.")
    return codes


def _build_code_tables(folder: FolderConfig) -> tuple[UInt8, UInt8]:
    """Build tables of cover and mask codes by index into `classes`; the last entry (-1) is for unlabelled pixels."""
    targets = [*folder.classes.values(), folder.unlabelled]
    cover = [_COVER_CODES.get(target, LandCover.NODATA) for target in targets]
    # a label of the ground means that it was visible: the sky is clear
    mask = [Mask.CLEAR if target in _COVER_CODES else _MASK_CODES.get(target, Mask.NODATA) for target in targets]
    return np.array(cover, np.uint8), np.array(mask, np.uint8)
