"""Layout of a run's outputs: keys (paths) in the object store, spelt only here; see docs/reference/outputs.md."""

import re
from dataclasses import dataclass
from typing import Final

PLAN: Final = "plan/plan.json"
BALANCE: Final = "balance/balance.json"
OVERLAPS: Final = "balance/overlaps.json"
CATALOG: Final = "catalog.json"
REPORT: Final = "report/index.html"
SCORES: Final = "report/scores.json"
RATES: Final = "run/rates.json"
FORECAST: Final = "run/forecast.json"

PRODUCTS: Final = ("composite", "mosaic", "landcover")
"""Products with a STAC item per tile."""

_TILE: Final = r"\d\d[A-Z]{3}"
_ITEM: Final = re.compile(rf"({'|'.join(PRODUCTS)})/({_TILE})/item\.json")
_SELECTION: Final = re.compile(rf"select/({_TILE})\.json")
_ACQUIRED: Final = re.compile(rf"scenes/({_TILE})/acquired\.json")
_RASTER: Final = re.compile(rf"({'|'.join(PRODUCTS)})/.*\.tif")
_RUN_RECORD: Final = re.compile(r"run/[^/]+/[^/]+(?<!\.failed\.json)")
_KNOWN: Final = re.compile(
    rf"plan/plan\.json|plan/groups/\w+/\d+\.json|select/{_TILE}(\.base)?\.(json|previews\.tif)"
    rf"|scenes/{_TILE}/[\w.-]+\.(json|tif)|(composite|mosaic)/{_TILE}/(composite|mosaic|provenance|weight)\.tif"
    rf"|landcover/{_TILE}/(landcover|confidence)\.tif|(composite|mosaic|landcover)/{_TILE}/item\.json"
    r"|balance/[\w./-]+\.json|catalog\.json|(mosaic|landcover)/collection\.json|\w+-\d{5}\.vrt"
    r"|\w+\.gti\.gpkg|\w+\.mosaic\.json|areas[\w.-]*\.(csv|parquet)"
    r"|report/[\w./-]+|run/[\w./-]+\.json|publish/[\w./-]+\.json|(scorecard|truth)[\w./-]*\.json"
)


@dataclass(frozen=True, slots=True)
class TileKeys:
    """Keys of the outputs of one tile; "*" as tile gives a glob pattern for all tiles."""

    tile: str
    """Name such as 33TWL; "all" for the records of a step that runs once per run."""

    @property
    def selection(self) -> str:
        """Record of the scene list."""
        return f"select/{self.tile}.json"

    @property
    def previews(self) -> str:
        """Previews of the candidates, with their masks."""
        return f"select/{self.tile}.previews.tif"

    @property
    def base_selection(self) -> str:
        """Scene list of the mosaic that a refresh starts from."""
        return f"select/{self.tile}.base.json"

    @property
    def base_previews(self) -> str:
        """Previews of the candidates of that list."""
        return f"select/{self.tile}.base.previews.tif"

    @property
    def scenes_prefix(self) -> str:
        """Folder of the acquired scenes."""
        return f"scenes/{self.tile}"

    @property
    def acquired(self) -> str:
        """Record of the acquired scenes."""
        return f"scenes/{self.tile}/acquired.json"

    @property
    def corrections(self) -> str:
        """Corrections that balance computed for the tile and its neighbours: all that blending needs."""
        return f"balance/{self.tile}.json"

    def get_item(self, product: str) -> str:
        """Return the key of the STAC item (and done marker) of composite, mosaic or landcover."""
        return f"{product}/{self.tile}/item.json"

    def get_raster(self, product: str, name: str) -> str:
        """Return the key of a GeoTIFF beside a product's item."""
        return f"{product}/{self.tile}/{name}.tif"

    def get_run_record(self, step: str) -> str:
        """Return the key of the record of time, memory and traffic of a step."""
        return f"run/{step}/{self.tile}.json"

    def get_failure(self, step: str) -> str:
        """Return the key of the record that a failed step leaves; it is deleted when the step succeeds."""
        return f"run/{step}/{self.tile}.failed.json"


@dataclass(frozen=True, slots=True)
class SceneKeys:
    """Keys of one acquired scene of a tile."""

    tile: str
    scene: str
    """Id of the scene."""

    @property
    def image(self) -> str:
        """8-bit levels."""
        return f"scenes/{self.tile}/{self.scene}.tif"

    @property
    def mask(self) -> str:
        """Mask of clouds and shadows."""
        return f"scenes/{self.tile}/{self.scene}.mask.tif"

    @property
    def record(self) -> str:
        """Record of the scene."""
        return f"scenes/{self.tile}/{self.scene}.json"


def get_group_key(stage: str, number: int) -> str:
    """Return the key of the list of tiles of one pod of a cluster."""
    return f"plan/groups/{stage}/{number:03d}.json"


def get_run_records_prefix(step: str) -> str:
    """Return the folder of a step's run records and failures."""
    return f"run/{step}"


def get_collection_key(product: str) -> str:
    """Return the key of a product's STAC collection."""
    return f"{product}/collection.json"


def get_vrt_key(product: str, epsg: int) -> str:
    """Return the key of the VRT of all tiles of a product in one UTM zone."""
    return f"{product}-{epsg}.vrt"


def get_tile_index_key(layer: str) -> str:
    """Return the key of the tile index (GDAL GTI, GeoPackage) of a layer."""
    return f"{layer}.gti.gpkg"


def get_mosaicjson_key(layer: str) -> str:
    """Return the key of the MosaicJSON of a layer."""
    return f"{layer}.mosaic.json"


def parse_item_key(key: str) -> tuple[str, str] | None:
    """Return product and tile of the key of a STAC item, or None for any other key."""
    found = _ITEM.fullmatch(key)
    return (found[1], found[2]) if found else None


def parse_selection_key(key: str) -> str | None:
    """Return the tile of the key of a scene list, or None for any other key."""
    found = _SELECTION.fullmatch(key)
    return found[1] if found else None


def parse_acquired_key(key: str) -> str | None:
    """Return the tile of the key of a record of acquired scenes, or None for any other key."""
    found = _ACQUIRED.fullmatch(key)
    return found[1] if found else None


def is_product_raster(key: str) -> bool:
    """Return whether the key is that of a GeoTIFF of a composite, mosaic or land-cover map."""
    return _RASTER.fullmatch(key) is not None


def is_run_record(key: str) -> bool:
    """Return whether the key is that of a run record of a step, and not of a failure."""
    return _RUN_RECORD.fullmatch(key) is not None


def is_known(key: str) -> bool:
    """Return whether a run of s2ops may contain the key."""
    return _KNOWN.fullmatch(key) is not None
