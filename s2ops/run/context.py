"""What every step is given beside its tile: the configuration and the doors to the world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from odc.geo.geobox import GeoBox

from s2ops.catalog.search import Found, SceneCatalog, open_catalog
from s2ops.config import RunConfig
from s2ops.geo.mgrs_tiles import Tile, neighbours
from s2ops.inference.instrumented import Counted
from s2ops.inference.networks import open_networks
from s2ops.inference.protocols import Networks, Scorer, Segmenter, Weights
from s2ops.storage.object_store import Store


@dataclass(frozen=True)
class Job:
    """One run in one process. Cheap to make: doors open when first used."""

    config: RunConfig
    tiles: tuple[Tile, ...]
    """All tiles of the run, sorted by name."""
    threads: int = 1
    """Threads a step may use; bytes never depend on it."""

    @cached_property
    def store(self) -> Store:
        """Where outputs lie."""
        return Store(self.config.out)

    @cached_property
    def catalog(self) -> SceneCatalog:
        """Where scenes are found."""
        return open_catalog(self.config.catalog)

    @property
    def res(self) -> int:
        """Pixel size in metres."""
        return self.config.resolution

    @cached_property
    def handed_on(self) -> dict[str, Any]:
        """What a step's marker has read of the whole run for its `run`, which takes it out: read once, never stale."""
        return {}

    @cached_property
    def by_name(self) -> Mapping[str, Tile]:
        """The run's tiles by name."""
        return {tile.name: tile for tile in self.tiles}

    def geobox(self, tile: Tile) -> GeoBox:
        """The tile's pixel grid at the run's resolution."""
        return tile.geobox(self.res)

    def neighbours(self, tile: Tile) -> tuple[Tile, ...]:
        """The run's tiles that overlap `tile`, sorted by name."""
        return neighbours(tile, self.tiles)

    @cached_property
    def _searches(self) -> Callable[[Tile], Found]:
        dates = self.config.dates
        return lru_cache(maxsize=None)(
            lambda tile: self.catalog.scenes(tile.name, dates.start, dates.end, self.config.max_cloud)
        )

    def scenes(self, tile: Tile) -> Found:
        """The catalog's scenes of the tile, searched once a process."""
        return self._searches(tile)

    @cached_property
    def _newer(self) -> Callable[[Tile], Found]:
        config = self.config
        first = config.since or config.dates.start
        return lru_cache(maxsize=None)(
            lambda tile: self.catalog.scenes(tile.name, first, config.dates.end, config.max_cloud)
        )

    def newer_scenes(self, tile: Tile) -> Found:
        """Those from `since` on."""
        return self._newer(tile)

    @cached_property
    def _networks(self) -> Networks:
        return open_networks(self.config.segmenter, self.config.models, self.threads)

    def model(self, network: str) -> Weights:
        """The weights that a network answers with: the file's, or the server's."""
        return self._networks.weights(network)

    def segmenter(self, network: str) -> Segmenter:
        """The network, opened once a process."""
        return Counted(self._networks.segmenter(network), network)

    @property
    def scorer(self) -> Scorer:
        """The haze network."""
        return self._networks.scorer
