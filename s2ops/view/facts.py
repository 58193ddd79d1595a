"""What the map tells of a tile without looking at a pixel, read from the run's records; they are not trusted."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from s2ops.storage import layout
from s2ops.storage.object_store import Store

Json: TypeAlias = dict[str, Any]
Status = Literal["done", "empty", "failed", "waiting", "missing", "damaged"]

STEPS: Final = ("select", "acquire", "composite", "blend", "landcover")
"""Steps that leave a record for each tile, in their order."""

_MALFORMED: Final = (AttributeError, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class SceneReference:
    """A scene in a provenance list: pixel n comes from the n-th."""

    id: str
    date: str
    tile: str


@dataclass(frozen=True, slots=True)
class TileSeam:
    """The border of `neighbour` inside a tile: how much its step exceeds the landscape's (docs/explanation/seams.md)."""

    neighbour: str
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True)
class TileSummary:
    """One tile at one moment."""

    name: str
    status: Status
    reason: str = ""
    """One sentence; empty where the tile is done."""
    holes: float | None = None
    """Part of the tile that no scene shows clear, 0 to 1."""
    edges: tuple[TileSeam, ...] = ()
    scenes: tuple[SceneReference, ...] = ()
    """Of the mosaic's provenance, neighbours' scenes included."""
    areas: Mapping[str, float] = field(default_factory=dict)
    """Square kilometres of each class."""

    @property
    def dates(self) -> tuple[str, ...]:
        """The days of the tile's own scenes, oldest first."""
        return tuple(sorted({scene.date for scene in self.scenes if scene.tile == self.name}))


def parse_json_object(data: bytes | None, key: str) -> Json:
    """The JSON object; a ValueError says in words what is wrong with it."""
    if data is None:
        raise ValueError(f"{key} is missing")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{key} is damaged: it is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{key} is damaged: it holds no JSON object")
    return value


def read_mosaic_facts(store: Store, name: str) -> tuple[float, tuple[TileSeam, ...], tuple[SceneReference, ...]]:
    """Holes, edges and scenes that the mosaic's item states; ValueError where it cannot be read."""
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
    """Square kilometres of each class that the land cover's item states; ValueError where it cannot be read."""
    key = layout.TileKeys(name).get_item("landcover")
    item = parse_json_object(store.get(key), key)
    try:
        return {str(label): float(km2) for label, km2 in item["properties"]["s2ops:areas_km2"].items()}
    except _MALFORMED as error:
        raise ValueError(f"{key} is damaged: {type(error).__name__} {str(error)[:80]}") from error


def read_failure(store: Store, step: str, name: str) -> str:
    """Why a step failed for a tile."""
    key = layout.TileKeys(name).get_failure(step)
    try:
        return f"{step}: {parse_json_object(store.get(key), key).get('error')}"
    except ValueError as error:
        return f"{step} failed, and {error}"


def _parse_seam(stated: Json) -> TileSeam:
    before, after = (stated.get(when) for when in ("before", "after"))
    return TileSeam(
        str(stated["neighbour"]),
        None if before is None else float(before["excess"]),
        None if after is None else float(after["excess"]),
    )
