"""GDAL environment: virtual file system paths and configuration options."""

import pytest
import rasterio
from rasterio.env import get_gdal_config

from s2ops.errors import CatalogError
from s2ops.raster.gdal_env import build_gdal_options, to_gdal_path


@pytest.mark.parametrize(
    ("href", "path"),
    [
        ("https://host/a/B04.tif", "/vsicurl/https://host/a/B04.tif"),
        ("s3://bucket/a/B04.jp2", "/vsis3/bucket/a/B04.jp2"),
        ("gs://bucket/B04.tif", "/vsigs/bucket/B04.tif"),
        ("az://container/B04.tif", "/vsiaz/container/B04.tif"),
        ("/data/B04.tif", "/data/B04.tif"),
    ],
)
def test_to_gdal_path_maps_urls_to_virtual_file_systems(href: str, path: str) -> None:
    assert to_gdal_path(href) == path


@pytest.mark.parametrize("href", ["file:///etc/passwd", "/vsicurl/https://host/x", "vsi://x"])
def test_to_gdal_path_raises_for_other_schemes_and_vsi_paths(href: str) -> None:
    with pytest.raises(CatalogError, match=r"Cannot read .*(its scheme is none of|own file systems)"):
        to_gdal_path(href)


def test_build_gdal_options_are_accepted_by_gdal_and_bound_its_cache() -> None:
    with rasterio.Env(**build_gdal_options()):
        assert get_gdal_config("GDAL_CACHEMAX") == 128
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"
        assert get_gdal_config("GDAL_PAM_ENABLED") == "NO"
