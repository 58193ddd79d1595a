"""Facts about tiles from the records of a run, without reading pixels. Records may be malformed and are checked."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from s2ops.constants import Json
from s2ops.storage import layout
from s2ops.storage.object_store import Store

TileStatus: TypeAlias = Literal["done", "empty", "failed", "waiting", "missing", "damaged"]

_MALFORMED: Final = (AttributeError, KeyError, TypeError, ValueError)
"""Errors that indicate a malformed record."""


@dataclass(frozen=True, slots=True)
class SceneReference:
    """Scene of a provenance list: pixel value n refers to the n-th scene."""

    id: str
    date: str
    tile: str


@dataclass(frozen=True, slots=True)
class TileSeam:
    """Seam along the border of `neighbour` inside a tile: its excess (docs/explanation/seams.md)."""

    neighbour: str
    before: float | None
    """Excess before blending."""
    after: float | None
    """Excess after blending."""


@dataclass(frozen=True, slots=True)
class TileSummary:
    """Status and metrics of one tile at one time."""

    name: str
    status: TileStatus
    reason: str = ""
    """One sentence; empty if the tile is done."""
    holes: float | None = None
    """Fraction of the tile without clear pixels, 0 to 1."""
    edges: tuple[TileSeam, ...] = ()
    scenes: tuple[SceneReference, ...] = ()
    """Scenes of the mosaic's provenance, including scenes of neighbours."""
    areas: Mapping[str, float] = field(default_factory=dict)
    """Area of each class in square kilometres."""

    @property
    def dates(self) -> tuple[str, ...]:
        """Acquisition days of the tile's own scenes, oldest first."""
        return tuple(sorted({scene.date for scene in self.scenes if scene.tile == self.name}))


def parse_json_object(data: bytes | None, key: str) -> Json:
    """Parse a JSON object; raise ValueError with a sentence for people if it is missing or damaged."""
    if data is None:
        raise ValueError(f"{key} is missing")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{key} is damaged: it is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{key} is damaged: it is not a JSON object")
    return value


def read_mosaic_facts(store: Store, name: str) -> tuple[float, tuple[TileSeam, ...], tuple[SceneReference, ...]]:
    """Read fraction of holes, seams and scenes from a mosaic's item; raise ValueError if it is damaged."""
    key = layout.TileKeys(name).get_item("mosaic")
    item = parse_json_object(store.get(key), key)
    try:
        properties = item["properties"]
        edges = tuple(_parse_seam(one) for one in properties["s2ops:seams"])
        scenes = tuple(
            SceneReference(str(one["id"]), str(one["date"]), str(one["tile"])) for one in properties["s2ops:scenes"]
        )
        return float(properties["s2ops:holes"]), edges, scenes
    except _MALFORMED as error:
        raise ValueError(f"{key} is damaged: {type(error).__name__} {str(error)[:80]}") from error


def read_class_areas(store: Store, name: str) -> dict[str, float]:
    """Read the class areas (square kilometres) from a land cover's item; raise ValueError if it is damaged."""
    key = layout.TileKeys(name).get_item("landcover")
    item = parse_json_object(store.get(key), key)
    try:
        return {str(label): float(km2) for label, km2 in item["properties"]["s2ops:areas_km2"].items()}
    except _MALFORMED as error:
        raise ValueError(f"{key} is damaged: {type(error).__name__} {str(error)[:80]}") from error


def read_failure(store: Store, step: str, name: str) -> str:
    """Read the reason why a step failed for a tile."""
    key = layout.TileKeys(name).get_failure(step)
    try:
        return f"{step}: {parse_json_object(store.get(key), key).get('error')}"
    except ValueError as error:
        return f"{step} failed, and {error}"


def _parse_seam(stated: Json) -> TileSeam:
    """Parse the seam metrics of one edge."""
    before, after = (stated.get(when) for when in ("before", "after"))
    return TileSeam(
        str(stated["neighbour"]),
        None if before is None else float(before["excess"]),
        None if after is None else float(after["excess"]),
    )
