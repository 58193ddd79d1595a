"""What the report tells, read from a run's records; whatever is missing is None and the report says so."""

import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from s2ops.errors import InputError
from s2ops.geo.mgrs_tiles import Tile, parse_tiles
from s2ops.records import AcquireRecord, SelectRecord
from s2ops.runtime.threads import ordered_map
from s2ops.storage import layout
from s2ops.storage.object_store import Store

Json: TypeAlias = dict[str, Any]
SCORES_KEY: Final = "report/scores.json"
R = TypeVar("R", SelectRecord, AcquireRecord)

MAX_SEAMS: Final = 200
"""Edges kept, the worst first; a continent has a hundred thousand."""

_SHOWN_PROPERTIES: Final = ("s2ops:holes", "s2ops:gains", "s2ops:scenes")
"""Properties of items that the report shows; a whole item takes 40 kB of memory."""

_READER_THREADS: Final = 16
"""Threads that read records: they only wait for the store."""


@dataclass(frozen=True, slots=True)
class TileRecords:
    """The records of one tile; None where a step has not run."""

    tile: Tile
    select: SelectRecord | None
    """None also for a tile of which no details are asked for, as the next."""
    acquired: AcquireRecord | None
    composite: Json | None
    """Those properties of the item that are shown, as for the next two."""
    mosaic: Json | None
    landcover: Json | None
    looked: int | None
    """Scenes that select looked at."""
    used: int | None
    """Scenes that acquire read for the mosaic."""

    @property
    def scenes(self) -> list[Json]:
        """The scenes that the mosaic's provenance counts, each with id and date."""
        return list((self.mosaic or {}).get("s2ops:scenes", []))


@dataclass(frozen=True, slots=True)
class StepUsage:
    """What a step took for a tile (or 'all')."""

    step: str
    tile: str
    wall_s: float
    peak_rss_mib: float
    status: str


@dataclass(frozen=True, slots=True)
class StepFailure:
    """What a step said of a tile that it could not make."""

    step: str
    tile: str
    error: str


@dataclass(frozen=True, slots=True)
class SeamRecord:
    """The edge of `tile` towards `neighbour`; figures as in docs/explanation/seams.md."""

    tile: str
    neighbour: str
    before: Json | None
    after: Json | None

    @property
    def rank(self) -> tuple[float, str, str]:
        """The worst before blending first."""
        return -get_excess(self.before), self.tile, self.neighbour


@dataclass(frozen=True, slots=True)
class SeamSummary:
    """All edges that were measured."""

    count: int = 0
    worst: tuple[SeamRecord, ...] = ()
    """At most `MAX_SEAMS`, the worst before blending first."""
    before: float | None = None
    """The largest step over the landscape's own before blending; None where none was measured."""
    after: float | None = None

    def merge(self, seams: Sequence[SeamRecord]) -> "SeamSummary":
        """With those of one more tile."""
        measured = [seam for seam in seams if seam.before or seam.after]
        before = [self.before, *(get_excess(seam.before) for seam in measured if seam.before)]
        after = [self.after, *(get_excess(seam.after) for seam in measured if seam.after)]
        worst = heapq.nsmallest(MAX_SEAMS, (*self.worst, *measured), key=lambda seam: seam.rank)
        return SeamSummary(self.count + len(measured), tuple(worst), _compute_max(before), _compute_max(after))


def get_excess(figures: Json | None) -> float:
    """The step of an edge over the landscape's own."""
    return float((figures or {}).get("excess", 0.0))


def _compute_max(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All that the report is made from, but pixels."""

    config: Json
    """The run's configuration as the plan holds it; empty where there is no plan."""
    tiles: tuple[TileRecords, ...]
    edges: SeamSummary
    usage: tuple[StepUsage, ...]
    failures: tuple[StepFailure, ...]
    scores: Json
    """Comparison with the truth of a simulated world; empty where there is none."""


def gather_run_facts(store: Store, names: Sequence[str], detailed: int | None = None) -> RunFacts:
    """Read every record of the tiles of those names; a broken one counts as missing.

    Only the first `detailed` tiles keep their scene lists (default: all), so that a continent fits into memory.
    """
    plan = _json(store, layout.PLAN) or {}
    tiles, edges = [], SeamSummary()
    most = len(names) if detailed is None else detailed
    for facts, seams in ordered_map(partial(_read_tile, store, most), enumerate(parse_tiles(names)), _READER_THREADS):
        tiles.append(facts)
        edges = edges.merge(seams)
    usage, failures = _read_usage_and_failures(store)
    return RunFacts(dict(plan.get("config", {})), tuple(tiles), edges, usage, failures, _json(store, SCORES_KEY) or {})


def _read_tile(store: Store, detailed: int, numbered: tuple[int, Tile]) -> tuple[TileRecords, list[SeamRecord]]:
    number, tile = numbered
    select = _read_record(SelectRecord, store, layout.select(tile.name))
    acquired = _read_record(AcquireRecord, store, layout.acquired(tile.name))
    items = {kind: _read_properties(store, layout.item(kind, tile.name)) for kind in ("composite", "mosaic", "landcover")}
    shown = {kind: _select_properties(found) for kind, found in items.items()}
    facts = TileRecords(
        tile,
        select if number < detailed else None,
        acquired if number < detailed else None,
        shown["composite"],
        shown["mosaic"],
        shown["landcover"],
        None if select is None else len(select.candidates),
        None if acquired is None else len(acquired.scenes),
    )
    stated = (items["mosaic"] or {}).get("s2ops:seams", [])
    return facts, [SeamRecord(tile.name, str(one["neighbour"]), one.get("before"), one.get("after")) for one in stated]


def _select_properties(properties: Json | None) -> Json | None:
    return None if properties is None else {name: properties[name] for name in _SHOWN_PROPERTIES if name in properties}


def _read_record(kind: type[R], store: Store, key: str) -> R | None:
    data = store.get(key)
    try:
        return None if data is None else kind.read(data, key)
    except InputError:
        return None


def _read_properties(store: Store, key: str) -> Json | None:
    found = _json(store, key)
    return None if found is None else dict(found.get("properties", {}))


def _read_usage_and_failures(store: Store) -> tuple[tuple[StepUsage, ...], tuple[StepFailure, ...]]:
    """What the steps took, and what they said where they failed."""
    usage, failures = [], []
    for value in ordered_map(partial(_json, store), store.keys("run"), _READER_THREADS):
        if value is None:
            continue
        step, tile, status = (str(value.get(name, "")) for name in ("step", "tile", "status"))
        if {"step", "tile", "wall_s", "peak_rss_mib"} <= value.keys():
            usage.append(StepUsage(step, tile, float(value["wall_s"]), float(value["peak_rss_mib"]), status))
        elif {"step", "tile", "error"} <= value.keys():
            failures.append(StepFailure(step, tile, str(value["error"])))
    return tuple(usage), tuple(failures)


def _json(store: Store, key: str) -> Json | None:
    try:
        value = json.loads(store.get(key) or b"")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
