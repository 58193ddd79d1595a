"""Single-file processing without a catalog or a run: cloud mask, tone curve, land-cover classification.

An input is a GeoTIFF with four bands: digital numbers (16-bit, reflectance x 10000), float reflectance, or the 8-bit
levels that `enhance` writes. Several dates of one place may have different projections; the first file's grid is used.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from s2ops.acquisition.tiled_cloud_mask import predict_cloud_mask
from s2ops.config import DEFAULT_NETWORKS, NetworkChoice
from s2ops.constants import BANDS, Float32, UInt8
from s2ops.errors import ConfigError, RasterError, Translation, translate_errors
from s2ops.inference.landcover_networks import open_landcover_segmenter
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment_slabs
from s2ops.landcover.date_fusion import (
    THIN_CLOUD_WEIGHT,
    VEIL_WINDOW_PX,
    DateFusion,
    compute_date_weight,
    find_thin_cloud_or_shadow,
)
from s2ops.landcover.signal_check import BrightnessHistogram, find_saturated
from s2ops.models.registry import LANDCOVER, split_by_head
from s2ops.raster.cog import CLASSES, IMAGERY, MASK, PERCENT, CogWriter
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.image_file import ImageFile
from s2ops.raster.reader import open_untrusted, split_rows
from s2ops.run.raster_writer import build_imagery_tags

_LOG: Final = logging.getLogger(__name__)

_BAND_NAMES = {
    "red": {"red", "b04", "b4"}, "green": {"green", "b03", "b3"},
    "blue": {"blue", "b02", "b2"}, "nir": {"nir", "b08", "b8"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """Interpretation of the input files."""

    bands: tuple[int, ...] | None = None
    """Band numbers of red, green, blue and nir, from 1; None: by band description, or 1 to 4 of a 4-band file without
    descriptions."""
    offset: int = 0
    """Added to digital numbers before scaling: -1000 for files of baseline 04.00 and later that contain the offset."""
    models: str | None = None
    """Folder or URI of the weights; None: those of the package."""
    threads: int = 1
    networks: NetworkChoice = DEFAULT_NETWORKS
    """Networks that classify land cover."""


def _open_image(stack: ExitStack, path: Path, options: ImageOptions, grid: GeoBox | None = None) -> ImageFile:
    """Open a file and resample it to `grid` if that is given.

    Raises:
        RasterError: If the file cannot be opened or has no coordinate reference system.
        ConfigError: If its bands cannot be identified.
    """
    try:
        src = stack.enter_context(open_untrusted(str(path)))
    except RasterioError as error:
        raise RasterError(f"Cannot open {path}: {error}; give a GeoTIFF with red, green, blue and nir.") from error
    if src.crs is None:
        raise RasterError(
            f"Cannot use {path}: it has no coordinate reference system; add one, for example with gdal_edit.py -a_srs."
        )
    own = GeoBox(src.shape, src.transform, str(src.crs))
    bands = _find_bands(src, path, options.bands)
    if grid is not None and grid != own:
        empty = src.nodata if src.nodata is not None else 0
        src = stack.enter_context(
            WarpedVRT(
                src, crs=str(grid.crs), transform=grid.transform, height=grid.height, width=grid.width,
                resampling=Resampling.cubic, src_nodata=empty, nodata=empty,
            )
        )  # fmt: skip
    return ImageFile(src, grid or own, bands, options.offset)


def _find_bands(src: DatasetReader, path: Path, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    if wanted is not None:
        if len(wanted) != len(BANDS) or not all(1 <= number <= src.count for number in wanted):
            raise ConfigError(
                f"Cannot use --bands {','.join(map(str, wanted))}: it does not name four of the {src.count} bands of "
                f"{path}; give the numbers of red, green, blue and nir."
            )
        return wanted
    described = {(name or "").lower(): number for number, name in enumerate(src.descriptions, 1)}
    found = [next((described[name] for name in sorted(_BAND_NAMES[band]) if name in described), None) for band in BANDS]
    known = tuple(number for number in found if number is not None)
    if len(known) == len(BANDS):
        return known
    if src.count == len(BANDS) and not any(src.descriptions):
        return (1, 2, 3, 4)
    missing = [band for band, number in zip(BANDS, found, strict=True) if number is None]
    raise ConfigError(
        f"Cannot identify the bands of {path}: none is described as {', '.join(missing)} (descriptions: "
        f"{', '.join(map(str, src.descriptions))}); give --bands RED,GREEN,BLUE,NIR by number."
    )


def enhance(source: Path, target: Path, options: ImageOptions) -> None:
    """Apply the tone curve to `source` and write an 8-bit COG: red, green, blue, nir; 0 is no data."""
    with configure_gdal(), ExitStack() as stack:
        image = _open_image(stack, source, options)
        out = CogWriter(target, image.grid, BANDS, IMAGERY, build_imagery_tags())
        for rows in split_rows(image.grid.height):
            out.write(_translate_errors(source, image.read)(rows.start, rows.stop))
        out.finish()


def mask(source: Path, target: Path, options: ImageOptions) -> None:
    """Mask cloud and shadow in `source`, and write a COG of codes: 0 clear, 1 cloud, 2 shadow, 255 no data."""
    with configure_gdal(), ExitStack() as stack:
        image = _open_image(stack, source, options)
        codes = _predict_mask(image, source, options)
        out = CogWriter(target, image.grid, ["mask"], MASK)
        for rows in split_rows(image.grid.height):
            out.write(codes[None, rows])
        out.finish()


def _predict_mask(image: ImageFile, source: Path, options: ImageOptions) -> UInt8:
    network = open_segmenter("scene-cloud", options.models, threads=options.threads)
    return predict_cloud_mask(
        network, _translate_errors(source, image.read), image.grid.height, image.grid.width, image.res
    )


def classify(sources: Sequence[Path], target: Path, options: ImageOptions) -> Path:
    """Classify land cover from one or several dates, and write the classes and their confidence.

    Cloud and shadow are masked in each date first. A pixel that is clear in no date is classified with low confidence
    if the ground is visible through thin cloud or in shadow; under opaque cloud it is 0. A date that is too dark
    (`BrightnessHistogram.is_dark`) and saturated pixels do not count.

    Returns:
        Path of the confidence, beside `target`.
    """
    confidence_path = target.with_suffix(".confidence.tif")
    open_network = partial(open_segmenter, models=options.models, threads=options.threads)
    network = open_landcover_segmenter(options.networks, open_network)
    with configure_gdal(), ExitStack() as stack:
        images: list[ImageFile] = []
        for source in sources:
            images.append(_open_image(stack, source, options, images[0].grid if images else None))
        grid, res = images[0].grid, images[0].res
        weights, streams = [], []
        for image, source in zip(images, sources, strict=True):
            weights.append(_compute_weight(image, source, options, res))
            streams.append(segment_slabs(network, _translate_errors(source, image.read), grid.height, grid.width))
        class_file = CogWriter(target, grid, ["class"], CLASSES)
        percent_file = CogWriter(confidence_path, grid, ["confidence"], PERCENT)
        for slab in zip(*streams, strict=True):
            top, end, _ = slab[0]
            fusion = DateFusion((end - top, grid.width))
            for weight, (_, _, probs) in zip(weights, slab, strict=True):
                water, vegetation, building = split_by_head(LANDCOVER, probs)
                fusion.feed(water, vegetation, building, weight[top:end])
            classes, confidence = fusion.decide()
            class_file.write(classes[None])
            percent_file.write(confidence[None])
        class_file.finish()
        percent_file.finish()
    return confidence_path


def _compute_weight(image: ImageFile, source: Path, options: ImageOptions, res: float) -> Float32:
    """Compute the weight of a date at each pixel (y, x)."""
    codes, read = _predict_mask(image, source, options), _translate_errors(source, image.read)
    weight = compute_date_weight(codes, res)
    brightness = BrightnessHistogram()
    for rows in split_rows(image.grid.height):
        around = slice(max(rows.start - VEIL_WINDOW_PX // 2, 0), min(rows.stop + VEIL_WINDOW_PX // 2, len(codes)))
        inner = slice(rows.start - around.start, rows.stop - around.start)
        levels = read(around.start, around.stop)
        brightness.add(levels[:, inner])
        weight[rows][find_thin_cloud_or_shadow(codes[around], levels)[inner]] = THIN_CLOUD_WEIGHT
        weight[rows][find_saturated(levels[:, inner])] = 0
    if brightness.is_dark():
        _LOG.warning("%s is too dark to classify (dusk or night); its pixels get no class.", source)
        weight[:] = 0
    return weight


def _translate_errors(source: Path, read: Callable[[int, int], UInt8]) -> Callable[[int, int], UInt8]:
    """Return `read` with rasterio's errors translated to RasterError."""
    rule = Translation((RasterioError,), RasterError, "replace the file, it is broken or truncated")

    def read_rows(top: int, end: int) -> UInt8:
        with translate_errors(f"Cannot read {source} at row {top}", rule):
            return read(top, end)

    return read_rows
