"""What the report tells, read from a run's records; whatever is missing is None and the report says so."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from s2ops import keys
from s2ops.errors import InputError
from s2ops.grid import Tile, by_name
from s2ops.records import AcquireRecord, SelectRecord
from s2ops.store import Store

Json: TypeAlias = dict[str, Any]
SCORES: Final = "report/scores.json"
R = TypeVar("R", SelectRecord, AcquireRecord)


@dataclass(frozen=True, slots=True)
class TileFacts:
    """The records of one tile; None where a step has not run."""

    tile: Tile
    select: SelectRecord | None
    acquired: AcquireRecord | None
    composite: Json | None
    """Properties of the item, as for the next two."""
    mosaic: Json | None
    landcover: Json | None

    @property
    def scenes(self) -> list[Json]:
        """The scenes that the mosaic's provenance counts, each with id and date."""
        return list((self.mosaic or {}).get("s2ops:scenes", []))


@dataclass(frozen=True, slots=True)
class Usage:
    """What a step took for a tile (or 'all')."""

    step: str
    tile: str
    wall_s: float
    peak_rss_mib: float
    status: str


@dataclass(frozen=True, slots=True)
class Seam:
    """The edge of `tile` towards `neighbour`; figures as in docs/seams.md."""

    tile: str
    neighbour: str
    before: Json | None
    after: Json | None


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All that the report is made from, but pixels."""

    config: Json
    """The run's configuration as the plan holds it; empty where there is no plan."""
    tiles: tuple[TileFacts, ...]
    usage: tuple[Usage, ...]
    scores: Json
    """Comparison with the truth of a simulated world; empty where there is none."""

    @property
    def seams(self) -> list[Seam]:
        """All edges that were measured, the worst before blending first."""
        found = [
            Seam(facts.tile.name, str(seam["neighbour"]), seam.get("before"), seam.get("after"))
            for facts in self.tiles
            for seam in (facts.mosaic or {}).get("s2ops:seams", [])
        ]
        measured = [seam for seam in found if seam.before or seam.after]
        return sorted(measured, key=lambda seam: (-(seam.before or {}).get("excess", 0.0), seam.tile, seam.neighbour))


def gather(store: Store, names: Sequence[str]) -> RunFacts:
    """Read every record of the tiles of those names; a broken one counts as missing."""
    plan = _json(store, keys.PLAN) or {}
    tiles = tuple(_tile(store, tile) for tile in by_name(names))
    return RunFacts(dict(plan.get("config", {})), tiles, tuple(_usage(store)), _json(store, SCORES) or {})


def _tile(store: Store, tile: Tile) -> TileFacts:
    return TileFacts(
        tile,
        _record(SelectRecord, store, keys.select(tile.name)),
        _record(AcquireRecord, store, keys.acquired(tile.name)),
        _properties(store, keys.item("composite", tile.name)),
        _properties(store, keys.item("mosaic", tile.name)),
        _properties(store, keys.item("landcover", tile.name)),
    )


def _record(kind: type[R], store: Store, key: str) -> R | None:
    data = store.get(key)
    try:
        return None if data is None else kind.read(data, key)
    except InputError:
        return None


def _properties(store: Store, key: str) -> Json | None:
    found = _json(store, key)
    return None if found is None else dict(found.get("properties", {}))


def _usage(store: Store) -> list[Usage]:
    found = []
    for key in store.keys("run"):
        value = _json(store, key)
        if value is not None and {"step", "tile", "wall_s", "peak_rss_mib"} <= value.keys():
            step, tile, status = (str(value.get(name, "")) for name in ("step", "tile", "status"))
            found.append(Usage(step, tile, float(value["wall_s"]), float(value["peak_rss_mib"]), status))
    return found


def _json(store: Store, key: str) -> Json | None:
    try:
        value = json.loads(store.get(key) or b"")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
