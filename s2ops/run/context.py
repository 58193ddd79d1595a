"""Run context (dependency container) of a step: configuration, tiles, object store, catalog and networks of one run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from odc.geo.geobox import GeoBox

from s2ops.catalog.search import SceneCatalog, SearchResult, open_catalog
from s2ops.config import RunConfig
from s2ops.geo.mgrs_tiles import Tile, find_neighbours
from s2ops.inference.instrumented import InstrumentedSegmenter
from s2ops.inference.landcover_networks import open_landcover_segmenter
from s2ops.inference.networks import open_networks
from s2ops.inference.protocols import ImageClassifier, Networks, Segmenter, WeightsInfo
from s2ops.storage.object_store import Store


@dataclass(frozen=True)
class RunContext:
    """One run in one process. Creating it is cheap: store, catalog and networks are opened at their first use."""

    config: RunConfig
    tiles: tuple[Tile, ...]
    """All tiles of the run, sorted by name."""
    threads: int = 1
    """Maximum number of threads of a step; outputs never depend on it."""

    @cached_property
    def store(self) -> Store:
        """Object store of the outputs."""
        return Store(self.config.out)

    @cached_property
    def catalog(self) -> SceneCatalog:
        """STAC catalog of the scenes."""
        return open_catalog(self.config.catalog)

    @property
    def res(self) -> int:
        """Pixel size in metres."""
        return self.config.resolution

    @cached_property
    def tiles_by_name(self) -> Mapping[str, Tile]:
        """Tiles of the run by their name."""
        return {tile.name: tile for tile in self.tiles}

    def build_geobox(self, tile: Tile) -> GeoBox:
        """Return the pixel grid of a tile at the resolution of the run."""
        return tile.build_geobox(self.res)

    def find_neighbours(self, tile: Tile) -> tuple[Tile, ...]:
        """Return the tiles of the run that overlap `tile`, sorted by name."""
        return find_neighbours(tile, self.tiles)

    @cached_property
    def _search(self) -> Callable[[Tile], SearchResult]:
        dates = self.config.dates
        return lru_cache(maxsize=None)(
            lambda tile: self.catalog.find_scenes(tile.name, dates.start, dates.end, self.config.max_cloud)
        )

    def find_scenes(self, tile: Tile) -> SearchResult:
        """Return the catalog's scenes of a tile within the run's dates, searched once per process."""
        return self._search(tile)

    @cached_property
    def _newer_search(self) -> Callable[[Tile], SearchResult]:
        config = self.config
        first = config.since or config.dates.start
        return lru_cache(maxsize=None)(
            lambda tile: self.catalog.find_scenes(tile.name, first, config.dates.end, config.max_cloud)
        )

    def find_newer_scenes(self, tile: Tile) -> SearchResult:
        """Return the catalog's scenes of a tile from the day `since` on, searched once per process."""
        return self._newer_search(tile)

    @cached_property
    def _networks(self) -> Networks:
        return open_networks(self.config.segmenter, self.config.models, self.threads)

    def load_weights_info(self, network: str) -> WeightsInfo:
        """Return metadata and checksum of the weights of a network, from its file or from the inference server."""
        return self._networks.get_weights_info(network)

    def open_segmenter(self, network: str) -> Segmenter:
        """Open a segmentation network, once per process; its windows and time are counted in the metrics."""
        return InstrumentedSegmenter(self._networks.get_segmenter(network), network)

    def open_landcover_segmenter(self) -> Segmenter:
        """Open the networks that make the land-cover map, as one segmenter with the classes of all three tasks."""
        return open_landcover_segmenter(self.config.landcover.networks, self.open_segmenter)

    @property
    def haze_classifier(self) -> ImageClassifier:
        """Network that returns the probability of haze for an image."""
        return self._networks.haze_classifier
