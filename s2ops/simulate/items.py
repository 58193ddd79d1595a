"""STAC items, collection and catalog of the simulated scenes, in the layout of Earth Search v1."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import pystac
import shapely

from s2ops.geo.mgrs_tiles import Tile
from s2ops.simulate.atmosphere import compute_sun_position
from s2ops.simulate.world import SatellitePass, compute_centre

COLLECTION: Final = "sentinel-2-l2a"

_SCHEMAS: Final = "https://stac-extensions.github.io"
_VERSIONS: Final = ("raster/v1.1.0", "mgrs/v1.0.0", "grid/v1.0.0", "projection/v1.1.0", "eo/v1.1.0", "view/v1.0.0")
EXTENSIONS: Final = tuple(f"{_SCHEMAS}/{name}/schema.json" for name in (*_VERSIONS, "sat/v1.0.0"))

COG_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"

_BANDS: Final = {"blue": ("B02", 0.49), "green": ("B03", 0.56), "red": ("B04", 0.665), "nir": ("B08", 0.842)}


@dataclass(frozen=True)
class SimulatedScene:
    """Scene: one pass over one tile."""

    tile: Tile
    flight: SatellitePass
    res: int
    id: str
    percent: Mapping[str, float] = field(default_factory=dict)
    """True percentages: cloud, shadow, vegetation, water, bare (of the pixels with data) and nodata (of the tile)."""

    def replace_percentages(self, percent: Mapping[str, float]) -> "SimulatedScene":
        """Return the scene with its percentages."""
        return replace(self, percent=percent)


def format_scene_id(tile: Tile, flight: SatellitePass) -> str:
    """Format the id of a scene, such as S2A_33TWL_20230815_0_L2A."""
    return f"{flight.platform}_{tile.name}_{flight.date:%Y%m%d}_0_L2A"


def write_item(out: Path, scene: SimulatedScene) -> None:
    """Write the item beside the scene's files: sentinel-2-l2a/ID/ID.json."""
    item = _build_item(scene)
    item.add_link(pystac.Link("root", "../../catalog.json", pystac.MediaType.JSON))
    item.add_link(pystac.Link("parent", "../collection.json", pystac.MediaType.JSON))
    item.add_link(pystac.Link("collection", "../collection.json", pystac.MediaType.JSON))
    item.collection_id = COLLECTION
    pystac.StacIO.default().save_json(str(out / COLLECTION / scene.id / f"{scene.id}.json"), _to_plain(item))


def _to_plain(item: pystac.Item) -> dict[str, object]:
    return item.to_dict(include_self_link=False, transform_hrefs=False)


def _build_item(scene: SimulatedScene) -> pystac.Item:
    tile, outline = scene.tile, scene.tile.footprint
    item = pystac.Item(
        id=scene.id,
        geometry=json.loads(shapely.to_geojson(outline)),
        bbox=list(outline.bounds),
        datetime=scene.flight.compute_datetime(compute_centre(tile)[0]),
        properties=_build_properties(scene),
        stac_extensions=list(EXTENSIONS),
    )
    for name, (band, wavelength) in _BANDS.items():
        item.add_asset(name, _build_band_asset(scene, name, band, wavelength))
    shape = _describe_grid(scene) | {
        "raster:bands": [{"nodata": 0, "data_type": "uint8", "spatial_resolution": scene.res}]
    }
    item.add_asset("scl", pystac.Asset("SCL.tif", "Scene classification map (SCL)", None, COG_TYPE, ["data"], shape))
    item.add_asset("thumbnail", pystac.Asset("thumbnail.jpg", "Thumbnail image", None, "image/jpeg", ["thumbnail"]))
    return item


def _build_properties(scene: SimulatedScene) -> dict[str, object]:
    """Build the properties of Earth Search; the percentages are the true ones."""
    tile, flight, percent = scene.tile, scene.flight, scene.percent
    azimuth, elevation = compute_sun_position(compute_centre(tile)[1], flight.day)
    corrected = flight.offset == 0
    return {
        "platform": f"sentinel-{flight.platform[1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": percent["cloud"],
        "proj:epsg": tile.epsg,
        "proj:code": f"EPSG:{tile.epsg}",
        "mgrs:utm_zone": tile.zone,
        "mgrs:latitude_band": tile.name[-3],
        "mgrs:grid_square": tile.name[-2:],
        "grid:code": f"MGRS-{tile.name}",
        "view:sun_azimuth": round(azimuth, 6),
        "view:sun_elevation": round(elevation, 6),
        "sat:relative_orbit": flight.orbit,
        "sat:orbit_state": "descending",
        "s2:nodata_pixel_percentage": round(percent["nodata"], 6),
        "s2:cloud_shadow_percentage": percent["shadow"],
        "s2:vegetation_percentage": percent["vegetation"],
        "s2:not_vegetated_percentage": percent["bare"],
        "s2:water_percentage": percent["water"],
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": "05.09",
        "s2:product_uri": _format_product_uri(scene),
        "s2:sequence": "0",
        # both conventions of baselines from 04.00: offset already subtracted, or still in the numbers
        "earthsearch:boa_offset_applied": corrected,
    }


def _format_product_uri(scene: SimulatedScene) -> str:
    flight = scene.flight
    return f"{flight.platform}_MSIL2A_{flight.date:%Y%m%d}T103000_N0509_R{flight.orbit:03d}_T{scene.tile.name}.SAFE"


def _build_band_asset(scene: SimulatedScene, name: str, band: str, wavelength: float) -> pystac.Asset:
    raster = {
        "nodata": 0,
        "data_type": "uint16",
        "bits_per_sample": 15,
        "spatial_resolution": scene.res,
        "scale": 0.0001,
        # Earth Search states the offset here even if it has already been applied
        "offset": -0.1,
    }
    extra = {
        "eo:bands": [{"name": name, "common_name": name, "center_wavelength": wavelength}],
        "gsd": 10,
        "raster:bands": [raster],
        **_describe_grid(scene),
    }
    return pystac.Asset(f"{band}.tif", f"{name.capitalize()} - 10m", None, COG_TYPE, ["data", "reflectance"], extra)


def _describe_grid(scene: SimulatedScene) -> dict[str, object]:
    box = scene.tile.build_geobox(scene.res)
    return {"proj:shape": [box.height, box.width], "proj:transform": [float(v) for v in tuple(box.transform)[:6]]}


def write_catalog(out: Path, scenes: Sequence[SimulatedScene]) -> Path:
    """Write catalog.json and the collection of all scenes, in the order of their ids; return the catalog's path."""
    ordered = sorted(scenes, key=lambda scene: scene.id)
    bounds = np.array([scene.tile.footprint.bounds for scene in ordered] or [(-180, -90, 180, 90)])
    box = [*bounds[:, :2].min(axis=0).tolist(), *bounds[:, 2:].max(axis=0).tolist()]
    moments = [scene.flight.compute_datetime(compute_centre(scene.tile)[0]) for scene in ordered] or [
        datetime(2015, 6, 23, tzinfo=UTC)
    ]
    collection = pystac.Collection(
        COLLECTION,
        "Simulated Sentinel-2 scenes with known truth",
        pystac.Extent(pystac.SpatialExtent([box]), pystac.TemporalExtent([[min(moments), max(moments)]])),
        title="Simulated Sentinel-2 Level 2A",
        license="Apache-2.0",
    )
    links = [pystac.Link("item", f"./{scene.id}/{scene.id}.json", pystac.MediaType.GEOJSON) for scene in ordered]
    for link in (pystac.Link("root", "../catalog.json"), pystac.Link("parent", "../catalog.json"), *links):
        collection.add_link(link)
    catalog = pystac.Catalog("s2ops-simulated", "A simulated world for s2ops: scenes whose truth is known")
    catalog.add_link(pystac.Link("root", "./catalog.json"))
    catalog.add_link(pystac.Link("child", f"./{COLLECTION}/collection.json"))
    path = out / "catalog.json"
    writer = pystac.StacIO.default()
    (out / COLLECTION).mkdir(parents=True, exist_ok=True)
    writer.save_json(
        str(out / COLLECTION / "collection.json"), collection.to_dict(include_self_link=False, transform_hrefs=False)
    )
    writer.save_json(str(path), catalog.to_dict(include_self_link=False, transform_hrefs=False))
    return path
