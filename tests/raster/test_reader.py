"""Our own files, when they cannot be read; and how often a scene's bands are."""

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
from s2ops.raster.cog import IMAGERY, SlabFile
from s2ops.raster.dataset_pool import opened, shelf
from s2ops.raster.gdal_env import configure_gdal
from s2ops.raster.reader import BandFile, open_picture, read_all, read_decimated, read_window, slabs
from s2ops.telemetry.gdal_network_stats import read_traffic


def _read_opened(path: str) -> None:
    with opened() as files:
        files.read(path, slice(0, 600))


READS = [
    read_all,
    _read_opened,
    lambda path: read_window(path, slice(0, 600)),
    lambda path: read_decimated(path, (550, 550)),
]


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A COG whose last blocks are missing."""
    path = tmp_path_factory.mktemp("cog") / "image.tif"
    geobox = GeoBox.from_bbox((600000, 5000000, 611000, 5011000), "EPSG:32633", resolution=10)
    file = SlabFile(path, geobox, BANDS, IMAGERY)
    noise = np.random.default_rng(1).integers(1, 255, (4, *geobox.shape), dtype=np.uint8)
    file.write(noise)
    data = file.finish().read_bytes()
    path.write_bytes(data[: len(data) // 20])
    return str(path)


@pytest.mark.parametrize("read", READS)
def test_a_damaged_file_of_a_run_is_named_with_what_to_do(read: object, cut_off: str) -> None:
    with pytest.raises(RasterError, match=r"image\.tif cannot be read .*: delete it and the \.json beside it"):
        read(cut_off)  # type: ignore[operator]


@pytest.mark.parametrize("read", READS)
def test_an_object_store_that_does_not_answer_is_worth_another_try(read: object) -> None:
    with pytest.raises(StoreUnreachable, match=r"x\.tif cannot be read for now .*: run again"):
        read("/vsicurl/http://127.0.0.1:1/x.tif")  # type: ignore[operator]


def test_what_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match="No such file"):
        read_all(str(tmp_path / "none.tif"))


def made(path: Path) -> str:
    geobox = GeoBox.from_bbox((600000, 5000000, 601000, 5001000), "EPSG:32633", resolution=10)
    file = SlabFile(path, geobox, BANDS, IMAGERY)
    file.write(np.full((4, *geobox.shape), 7, np.uint8))
    return str(file.finish())


def test_opened_files_are_lent_again_and_two_threads_never_share_one(tmp_path: Path) -> None:
    path = made(tmp_path / "a.tif")
    with shelf() as files:
        with files.lent() as first, files.lent() as second:
            assert first is not second
            assert (first.read(path, slice(0, 5)) == 7).all()
        with files.lent() as again:
            assert again in (first, second)


def test_files_that_a_thread_still_reads_are_closed_when_it_gives_them_back(tmp_path: Path) -> None:
    path = made(tmp_path / "a.tif")
    with shelf() as files:
        late = files.lent()
        lent = late.__enter__()
        lent.read(path, slice(0, 5))
    (reader,) = lent._files.values()
    assert (lent.read(path, slice(0, 5)) == 7).all()  # as after an error in another slab
    late.__exit__(None, None, None)
    assert reader.closed


@pytest.mark.parametrize("nodata", [0, None, 7])
def test_a_band_of_the_runs_resolution_is_read_once_and_its_no_data_becomes_0(
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
    read = np.concatenate([BandFile(str(path), "B04").read(grid, rows) for rows in slabs(grid.height)])
    through = read_traffic().subtract(before).bytes["files"]
    np.testing.assert_array_equal(read, np.where(numbers == nodata, 0, numbers) if nodata else numbers)
    if not nodata:
        assert through < 1.2 * path.stat().st_size


def test_pictures_without_a_place_are_opened_in_silence_by_many_threads_at_once(tmp_path: Path) -> None:
    """`catch_warnings` holds for the whole process; here a warning is an error, and the filters must come back."""
    path = tmp_path / "preview.jpg"
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(path)
    before = list(warnings.filters)

    def look(_: int) -> int:
        with configure_gdal(), open_picture(str(path)) as src:
            return int(src.count)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(look, range(400))) == [3] * 400
    assert list(warnings.filters) == before
