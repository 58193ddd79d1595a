"""What every step is given beside its tile: the configuration and the doors to the world."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Literal

from odc.geo.geobox import GeoBox

from s2ops.catalog import Found, SceneCatalog, open_catalog
from s2ops.config import RunConfig
from s2ops.grid import Tile, neighbours
from s2ops.inference.onnx import open_scorer, open_segmenter
from s2ops.inference.segmenter import Scorer, Segmenter
from s2ops.models.registry import ModelFile, find
from s2ops.store import Store

Status = Literal["done", "skipped", "empty"]


@dataclass(frozen=True)
class StepResult:
    """What a step says of a tile; `facts` are numbers for logs and the report."""

    step: str
    tile: str
    status: Status
    facts: Mapping[str, float | int | str] = field(default_factory=dict)


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

    def model(self, network: str) -> ModelFile:
        """The weights file of a network."""
        return find(network, self.config.models)

    @cached_property
    def _segmenters(self) -> Callable[[str], Segmenter]:
        return lru_cache(maxsize=None)(lambda name: open_segmenter(name, self.config.models, threads=self.threads))

    def segmenter(self, network: str) -> Segmenter:
        """The network, loaded once a process."""
        return self._segmenters(network)

    @cached_property
    def scorer(self) -> Scorer:
        """The haze network."""
        return open_scorer("preview-haze", self.config.models)
