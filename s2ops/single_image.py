"""One file in, one file out: mask, enhance and classify for people who just want one thing.

Any GeoTIFF with the four bands will do: digital numbers (16-bit, reflectance x 10000), float reflectance, or the 8-bit
levels that `enhance` writes. Several dates of one place may come in different projections: the first one's grid counts.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT

from s2ops.acquisition.tiled_cloud_mask import whole_mask
from s2ops.constants import BANDS, Float32, UInt8
from s2ops.errors import ConfigError, RasterError
from s2ops.inference.onnx import open_segmenter
from s2ops.inference.sliding_window import segment_slabs
from s2ops.landcover.date_fusion import VEIL_WEIGHT, Fusion, date_weight, seen_through
from s2ops.models.registry import LANDCOVER, split_by_head
from s2ops.raster.cog import CLASSES, IMAGERY, MASK, PERCENT, SlabFile
from s2ops.raster.image_file import ImageFile
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import open_foreign, slabs
from s2ops.run.raster_writer import build_imagery_tags

_NAMES = {
    "red": {"red", "b04", "b4"}, "green": {"green", "b03", "b3"},
    "blue": {"blue", "b02", "b2"}, "nir": {"nir", "b08", "b8"},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Options:
    """How the input files are to be understood."""

    bands: tuple[int, ...] | None = None
    """Band numbers of red, green, blue and nir, from 1; None: by band description, or 1 to 4 of a 4-band file."""
    offset: int = 0
    """Added to digital numbers before scaling: -1000 for files of baseline 04.00 and later that kept their offset."""
    models: str | None = None
    threads: int = 1


def _open(stack: ExitStack, path: Path, options: Options, grid: GeoBox | None = None) -> ImageFile:
    """Open a file, on the grid of the first one where that is given. RasterError or ConfigError say what is wrong."""
    try:
        src = stack.enter_context(open_foreign(str(path)))
    except RasterioError as error:
        raise RasterError(f"cannot open {path} ({error}): give a GeoTIFF with red, green, blue and nir") from error
    if src.crs is None:
        raise RasterError(f"{path} has no coordinate system: add one, with gdal_edit.py -a_srs for instance")
    own = GeoBox(src.shape, src.transform, str(src.crs))
    bands = _bands(src, path, options.bands)
    if grid is not None and grid != own:
        empty = src.nodata if src.nodata is not None else 0
        src = stack.enter_context(
            WarpedVRT(
                src, crs=str(grid.crs), transform=grid.transform, height=grid.height, width=grid.width,
                resampling=Resampling.cubic, src_nodata=empty, nodata=empty,
            )
        )  # fmt: skip
    return ImageFile(src, grid or own, bands, options.offset)


def _bands(src: DatasetReader, path: Path, wanted: tuple[int, ...] | None) -> tuple[int, ...]:
    if wanted is not None:
        if len(wanted) != len(BANDS) or not all(1 <= number <= src.count for number in wanted):
            raise ConfigError(
                f"--bands {','.join(map(str, wanted))} does not name four of the {src.count} bands of {path}: "
                "give the numbers of red, green, blue and nir"
            )
        return wanted
    described = {(name or "").lower(): number for number, name in enumerate(src.descriptions, 1)}
    found = [next((described[name] for name in sorted(_NAMES[band]) if name in described), None) for band in BANDS]
    known = tuple(number for number in found if number is not None)
    if len(known) == len(BANDS):
        return known
    if src.count == len(BANDS) and not any(src.descriptions):
        return (1, 2, 3, 4)
    missing = [band for band, number in zip(BANDS, found, strict=True) if number is None]
    raise ConfigError(
        f"{path} describes no band as {', '.join(missing)} (its bands: {', '.join(map(str, src.descriptions))}): "
        "say --bands RED,GREEN,BLUE,NIR by number"
    )


def enhance(source: Path, target: Path, options: Options) -> None:
    """Write `source` as an 8-bit COG through the tone curve: red, green, blue, nir; 0 is no data."""
    with configure_gdal(), ExitStack() as stack:
        image = _open(stack, source, options)
        out = SlabFile(target, image.grid, BANDS, IMAGERY, build_imagery_tags())
        for rows in slabs(image.grid.height):
            out.write(_sound(source, image.read)(rows.start, rows.stop))
        out.finish()


def mask(source: Path, target: Path, options: Options) -> None:
    """Write the cloud and shadow mask of `source`: 0 clear, 1 cloud, 2 shadow, 255 no data."""
    with configure_gdal(), ExitStack() as stack:
        image = _open(stack, source, options)
        codes = _mask_of(image, source, options)
        out = SlabFile(target, image.grid, ["mask"], MASK)
        for rows in slabs(image.grid.height):
            out.write(codes[None, rows])
        out.finish()


def _mask_of(image: ImageFile, source: Path, options: Options) -> UInt8:
    network = open_segmenter("scene-cloud", options.models, threads=options.threads)
    return whole_mask(network, _sound(source, image.read), image.grid.height, image.grid.width, image.res)


def classify(sources: Sequence[Path], target: Path, options: Options) -> Path:
    """Write the land cover that all dates agree on best, and beside it its confidence, whose path is given back.

    Cloud and shadow are masked in each date first. A pixel that no date shows clear is classified, with little
    confidence, where a thin veil or a shadow lets the ground be seen, and is 0 under opaque cloud.
    """
    confidence_path = target.with_suffix(".confidence.tif")
    network = open_segmenter(LANDCOVER, options.models, threads=options.threads)
    with configure_gdal(), ExitStack() as stack:
        images: list[ImageFile] = []
        for source in sources:
            images.append(_open(stack, source, options, images[0].grid if images else None))
        grid, res = images[0].grid, images[0].res
        weights, streams = [], []
        for image, source in zip(images, sources, strict=True):
            weights.append(_weight(image, source, options, res))
            streams.append(segment_slabs(network, _sound(source, image.read), grid.height, grid.width))
        class_file = SlabFile(target, grid, ["class"], CLASSES)
        percent_file = SlabFile(confidence_path, grid, ["confidence"], PERCENT)
        for slab in zip(*streams, strict=True):
            top, end, _ = slab[0]
            fusion = Fusion((end - top, grid.width))
            for weight, (_, _, probs) in zip(weights, slab, strict=True):
                water, vegetation, building = split_by_head(LANDCOVER, probs)
                fusion.feed(water, vegetation, building, weight[top:end])
            classes, confidence = fusion.decide()
            class_file.write(classes[None])
            percent_file.write(confidence[None])
        class_file.finish()
        percent_file.finish()
    return confidence_path


def _weight(image: ImageFile, source: Path, options: Options, res: float) -> Float32:
    """(y, x) how much the date counts at each pixel."""
    codes, read = _mask_of(image, source, options), _sound(source, image.read)
    weight = date_weight(codes, res)
    for rows in slabs(image.grid.height):
        veiled = seen_through(codes[rows], read(rows.start, rows.stop))
        weight[rows][veiled] = VEIL_WEIGHT
    return weight


def _sound(source: Path, read: Callable[[int, int], UInt8]) -> Callable[[int, int], UInt8]:
    """`read`, with GDAL's errors turned into ours."""

    def checked(top: int, end: int) -> UInt8:
        try:
            return read(top, end)
        except RasterioError as error:
            raise RasterError(f"{source} cannot be read at row {top} ({error}): broken or truncated") from error

    return checked
