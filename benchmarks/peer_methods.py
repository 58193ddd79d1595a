"""Composites by other libraries (NumPy, rio-tiler, odc-stac, odc-algo, OTB, S2Mosaic), as peers of s2ops composites.

    python benchmarks/peer_methods.py METHOD OUT.tif SCENE.tif ...      (beside each scene its SCENE.mask.tif)

benchmarks/bench_composite.py runs this script with the interpreter of an environment that has the libraries. Every
method reads windows of 1024 px on two threads and writes a plain tiled file; GDAL's COG driver then converts it with
the options of s2ops.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from threading import Lock, local
from types import SimpleNamespace
from typing import Any

import numpy as np
import rasterio
import rasterio.warp
from numpy.ma import MaskedArray
from rasterio.shutil import copy
from rasterio.windows import Window

WINDOW_PX = 1024
THREADS = 2
OPEN_FILES = local()
Read = Callable[[], MaskedArray]


def open_once(path: str) -> rasterio.DatasetReader:
    """Open a file once per thread."""
    if not hasattr(OPEN_FILES, "files"):
        OPEN_FILES.files = {}
    if path not in OPEN_FILES.files:
        OPEN_FILES.files[path] = rasterio.open(path)
    return OPEN_FILES.files[path]


def read_masked(scene: str, window: Window) -> MaskedArray:
    """Read levels (4, y, x), masked where not clear."""
    unclear = open_once(scene.replace(".tif", ".mask.tif")).read(1, window=window) != 0
    levels = open_once(scene).read(window=window)
    return MaskedArray(levels, mask=np.broadcast_to(unclear, levels.shape))


def composite_numpy_first(reads: Sequence[Read]) -> np.ndarray:
    """Take each pixel from the first scene that is clear there."""
    out: np.ndarray | None = None
    for read in reads:
        part = read()
        if out is None:
            out = part.filled(0)
        else:
            np.copyto(out, part.data, where=(out == 0) & ~part.mask)
        if out.all():
            break
    assert out is not None
    return out


def composite_numpy_median(reads: Sequence[Read]) -> np.ndarray:
    """Compute the median of the clear levels by sorting; unclear pixels get the largest value, so they come last."""
    parts = [read() for read in reads]
    stack = np.stack([part.data for part in parts]).astype(np.uint16)
    stack[np.stack([part.mask for part in parts])] = 999
    stack.sort(axis=0)
    count = (stack < 999).sum(axis=0)[None]
    low = np.take_along_axis(stack, np.maximum(count - 1, 0) // 2, axis=0)[0]
    high = np.take_along_axis(stack, np.minimum(count // 2, len(parts) - 1), axis=0)[0]
    return np.where(count[0] > 0, (low + high) // 2, 0).astype(np.uint8)


def create_rio_tiler_method(name: str) -> Callable[[Sequence[Read]], np.ndarray]:
    """Create a function that composites by one of rio-tiler's mosaic methods."""
    from rio_tiler.models import ImageData  # noqa: PLC0415 (only where it is installed)
    from rio_tiler.mosaic.methods import defaults  # noqa: PLC0415

    def composite(reads: Sequence[Read]) -> np.ndarray:
        method = getattr(defaults, name)()
        for read in reads:
            method.feed(ImageData(read()).array)
            if method.is_done:
                break
        filled: np.ndarray = method.data.filled(0).astype(np.uint8)
        return filled

    return composite


def convert_to_cog(plain: Path, target: Path) -> None:
    """Convert a plain file to a COG with the options of s2ops, and remove the plain file."""
    copy(
        str(plain), str(target), driver="COG", COMPRESS="ZSTD", LEVEL="1", PREDICTOR="YES", BLOCKSIZE="512",
        OVERVIEW_RESAMPLING="AVERAGE", NUM_THREADS="ALL_CPUS",
    )  # fmt: skip
    plain.unlink()


def build_items(scenes: Sequence[str]) -> list[Any]:
    """Build the STAC item of each scene as a catalog would return it: the four bands and the mask of one date."""
    import pystac  # noqa: PLC0415 (only where it is installed)

    made = []
    for number, scene in enumerate(scenes):
        with rasterio.open(scene) as src:
            box = rasterio.warp.transform_bounds(src.crs, "EPSG:4326", *src.bounds)
            facts = {"proj:epsg": src.crs.to_epsg(), "proj:shape": src.shape, "proj:transform": list(src.transform)}
        west, south, east, north = box
        ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        outline = {"type": "Polygon", "coordinates": [ring]}
        item = pystac.Item(Path(scene).stem, outline, list(box), datetime(2023, 8, 1 + number, tzinfo=UTC), facts)
        item.stac_extensions.append("https://stac-extensions.github.io/projection/v1.1.0/schema.json")
        bands = {"bands": [{"name": f"b{band}", "data_type": "uint8", "nodata": 0} for band in range(4)]}
        item.add_asset("image", pystac.Asset(scene, media_type="image/tiff", roles=["data"], extra_fields=bands))
        mask = scene.replace(".tif", ".mask.tif")
        item.add_asset("mask", pystac.Asset(mask, media_type="image/tiff", roles=["data"]))
        made.append(item)
    return made


def load_lazily(scenes: Sequence[str]) -> Any:
    """Load levels (band, time, y, x) as dask arrays with odc-stac, 0 where not clear."""
    from odc.stac import load  # noqa: PLC0415

    names = ["image.1", "image.2", "image.3", "image.4"]
    chunks = {"x": WINDOW_PX, "y": WINDOW_PX, "time": 1}
    found = load(build_items(scenes), bands=[*names, "mask"], chunks=chunks, dtype="uint8", groupby="id")
    return found[names].where(found["mask"] == 0, 0).rename({name: f"b{band}" for band, name in enumerate(names)})


def write_dataset(fused: Any, target: Path) -> None:
    """Compute a lazy dataset of bands and write it into a plain file."""
    import rioxarray  # noqa: F401, PLC0415 (registers `.rio`)

    image = fused.to_array("band").astype("uint8").drop_vars("time", errors="ignore").squeeze(drop=True)
    image.rio.write_crs(fused.odc.crs).rio.to_raster(
        target, tiled=True, lock=Lock(), photometric="MINISBLACK", alpha="NO"
    )


def composite_odc_stac_median(scenes: Sequence[str], target: Path) -> None:
    """Composite with odc-stac by dask's `median(skipna=True)`."""
    import dask  # noqa: PLC0415

    with dask.config.set(scheduler="threads", num_workers=THREADS):
        stack = load_lazily(scenes).chunk({"time": -1})
        write_dataset(stack.where(stack > 0).median("time", skipna=True).fillna(0), target)


def composite_geomad(scenes: Sequence[str], target: Path) -> None:
    """Composite with odc-algo's `int_geomedian`, which computes the geometric median (geomad) in blocks."""
    import dask  # noqa: PLC0415
    from odc.algo import int_geomedian  # noqa: PLC0415

    stack = load_lazily(scenes).astype("uint16")
    for band in stack.data_vars.values():
        band.attrs["nodata"] = 0
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        write_dataset(int_geomedian(stack, num_threads=1, offset=0, scale=1 / 255), target)


def composite_otb_first(scenes: Sequence[str], target: Path) -> None:
    """Composite with Orfeo ToolBox's BandMathX: one conditional expression per band."""
    files = [file for scene in scenes for file in (scene, scene.replace(".tif", ".mask.tif"))]
    bands = []
    for band in range(1, 5):
        words = "0"
        for number in reversed(range(len(scenes))):
            words = f"(im{2 * number + 2}b1 == 0 ? im{2 * number + 1}b{band} : {words})"
        bands.append(words)
    environment = {**os.environ, "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": str(THREADS), "GDAL_CACHEMAX": "128"}
    out = f"{target}?&gdal:co:TILED=YES&gdal:co:BIGTIFF=YES"
    command = ["otbcli_BandMathX", "-il", *files, "-exp", "; ".join(bands), "-out", out, "uint8"]
    subprocess.run(command, check=True, env=environment)


def composite_s2mosaic_first(scenes: Sequence[str], target: Path) -> None:
    """Composite with S2Mosaic's own loop; masks from files replace its network. It needs single-band files."""
    import pandas as pd  # noqa: PLC0415
    from s2mosaic import helpers, mosaic_core  # noqa: PLC0415

    def read_mask(item: Any, **_: Any) -> tuple[np.ndarray, np.ndarray]:
        with rasterio.open(item.mask) as src:
            clear = src.read(1) == 0
        return clear, np.ones_like(clear)

    mosaic_core.get_masks = read_mask
    names = [f"B{band}" for band in range(1, 5)]
    stack = []
    for scene in scenes:
        assets = {name: SimpleNamespace(href=get_band_path(scene, band)) for band, name in enumerate(names, 1)}
        stack.append(SimpleNamespace(assets=assets, mask=scene.replace(".tif", ".mask.tif")))
    everywhere = np.ones((10_980, 10_980), np.bool_)
    image, profile = mosaic_core.download_bands_pool(pd.DataFrame({"item": stack}), names, everywhere, None, "first")
    helpers.export_tif(image, profile, target, names)


def get_band_path(scene: str, band: int) -> str:
    """Return the path of the single-band file of a scene."""
    return scene.replace(".tif", f".b{band}.tif")


def split_bands(scenes: Sequence[str]) -> None:
    """Write the missing single-band files; this is not part of any measurement."""
    for scene, band in product(scenes, range(1, 5)):
        if not Path(get_band_path(scene, band)).exists():
            with rasterio.open(scene) as src:
                levels, profile = src.read(band), {**src.profile, "count": 1, "interleave": "band", "compress": "zstd"}
            with rasterio.open(get_band_path(scene, band), "w", **{**profile, "driver": "GTiff", "zlevel": 1}) as dst:
                dst.write(levels, 1)


def main() -> None:
    """Run one method, or split scenes into single bands."""
    name, target, scenes = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    if name == "split":
        split_bands(scenes)
        return
    whole = {
        "odc-stac-median": composite_odc_stac_median,
        "geomad": composite_geomad,
        "otb-first": composite_otb_first,
        "s2mosaic-first": composite_s2mosaic_first,
    }
    if name in whole:
        plain = target.with_suffix(".plain.tif")
        whole[name](scenes, plain)
        convert_to_cog(plain, target)
        return
    own = {"numpy-first": composite_numpy_first, "numpy-median": composite_numpy_median}
    composite = own[name] if name in own else create_rio_tiler_method(name)
    with rasterio.open(scenes[0]) as src:
        profile = {**src.profile, "driver": "GTiff", "compress": None, "photometric": "MINISBLACK", "alpha": "NO"}
    plain, lock = target.with_suffix(".plain.tif"), Lock()
    with rasterio.open(plain, "w", **profile) as dst:

        def write_window(corner: tuple[int, int]) -> None:
            top, left = corner
            window = Window(left, top, min(WINDOW_PX, dst.width - left), min(WINDOW_PX, dst.height - top))
            out = composite([lambda scene=scene: read_masked(scene, window) for scene in scenes])
            with lock:
                dst.write(out, window=window)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(write_window, product(range(0, dst.height, WINDOW_PX), range(0, dst.width, WINDOW_PX))))
    convert_to_cog(plain, target)


if __name__ == "__main__":
    main()
