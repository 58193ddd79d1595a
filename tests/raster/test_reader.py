"""Raster reader: errors for damaged files, pool of open files, bands of scenes."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from PIL import Image

from s2ops.constants import BANDS
from s2ops.errors import RasterError, StoreUnreachable
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.raster.cog import IMAGERY, CogWriter
from s2ops.raster.dataset_pool import open_dataset_cache, open_dataset_pool
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import BandFile, open_ungeoreferenced, read_all, read_decimated, read_window, split_rows
from s2ops.telemetry.gdal_network_stats import read_traffic


def _read_by_cache(path: str) -> None:
    with open_dataset_cache() as files:
        files.read(path, slice(0, 600))


READS = [
    read_all,
    _read_by_cache,
    lambda path: read_window(path, slice(0, 600)),
    lambda path: read_decimated(path, (550, 550)),
]


@pytest.fixture(scope="module")
def truncated_cog(tmp_path_factory: pytest.TempPathFactory) -> str:
    """COG whose last blocks are missing."""
    path = tmp_path_factory.mktemp("cog") / "image.tif"
    geobox = GeoBox.from_bbox((600000, 5000000, 611000, 5011000), "EPSG:32633", resolution=10)
    file = CogWriter(path, geobox, BANDS, IMAGERY)
    noise = np.random.default_rng(1).integers(1, 255, (4, *geobox.shape), dtype=np.uint8)
    file.write(noise)
    data = file.finish().read_bytes()
    path.write_bytes(data[: len(data) // 20])
    return str(path)


@pytest.mark.parametrize("read", READS)
def test_reader_names_a_damaged_file_and_the_remedy(read: object, truncated_cog: str) -> None:
    with pytest.raises(RasterError, match=r"Cannot read .*image\.tif: .*; delete it and the \.json beside it"):
        read(truncated_cog)  # type: ignore[operator]


@pytest.mark.parametrize("read", READS)
def test_reader_raises_a_transient_error_for_an_object_store_without_response(read: object) -> None:
    with pytest.raises(StoreUnreachable, match=r"Cannot read .*x\.tif: .*; run again"):
        read("/vsicurl/http://127.0.0.1:1/x.tif")  # type: ignore[operator]


def test_read_all_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="No such file"):
        read_all(str(tmp_path / "none.tif"))


def write_any_cog(path: Path) -> str:
    geobox = GeoBox.from_bbox((600000, 5000000, 601000, 5001000), "EPSG:32633", resolution=10)
    file = CogWriter(path, geobox, BANDS, IMAGERY)
    file.write(np.full((4, *geobox.shape), 7, np.uint8))
    return str(file.finish())


def test_dataset_pool_reuses_caches_and_never_shares_one_between_threads(tmp_path: Path) -> None:
    path = write_any_cog(tmp_path / "a.tif")
    with open_dataset_pool() as files:
        with files.check_out() as first, files.check_out() as second:
            assert first is not second
            assert (first.read(path, slice(0, 5)) == 7).all()
        with files.check_out() as again:
            assert again in (first, second)


def test_dataset_pool_closes_a_cache_in_use_when_its_thread_is_finished(tmp_path: Path) -> None:
    path = write_any_cog(tmp_path / "a.tif")
    with open_dataset_pool() as files:
        late = files.check_out()
        cache = late.__enter__()
        cache.read(path, slice(0, 5))
    (reader,) = cache._files.values()
    assert (cache.read(path, slice(0, 5)) == 7).all()  # as after an error in another slab
    late.__exit__(None, None, None)
    assert reader.closed


@pytest.mark.parametrize("nodata", [0, None, 7])
def test_band_file_of_the_runs_resolution_is_read_once_and_its_nodata_becomes_0(
    nodata: int | None, tmp_path: Path
) -> None:
    grid, path = parse_tile("33TWL").build_geobox(60), tmp_path / "band.tif"
    numbers = np.random.default_rng(3).integers(0, 9000, grid.shape, dtype=np.uint16)
    numbers[:40] = nodata or 0
    options = {"driver": "GTiff", "dtype": "uint16", "count": 1, "nodata": nodata, "tiled": True, "crs": str(grid.crs)}
    with rasterio.open(
        path, "w", height=grid.height, width=grid.width, transform=grid.transform, **options,
        blockxsize=512, blockysize=512,
    ) as dst:  # fmt: skip
        dst.write(numbers, 1)
    before = read_traffic()
    read = np.concatenate([BandFile(str(path), "B04").read(grid, rows) for rows in split_rows(grid.height)])
    through = read_traffic().subtract(before).bytes["files"]
    np.testing.assert_array_equal(read, np.where(numbers == nodata, 0, numbers) if nodata else numbers)
    if not nodata:
        assert through < 1.2 * path.stat().st_size


def test_open_ungeoreferenced_is_silent_in_many_threads_at_once(tmp_path: Path) -> None:
    """`catch_warnings` changes the whole process; a warning is an error here, and the filters must be restored."""
    path = tmp_path / "preview.jpg"
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path)
    before = list(warnings.filters)

    def open_once(_: int) -> int:
        with configure_gdal(), open_ungeoreferenced(str(path)) as src:
            return int(src.count)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(open_once, range(400))) == [3] * 400
    assert list(warnings.filters) == before
