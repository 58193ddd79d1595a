"""Facts for the report, gathered from the records of a run; a missing record is None."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from s2ops.constants import Json
from s2ops.errors import InputError
from s2ops.geo.mgrs_tiles import Tile, parse_tiles
from s2ops.records import AcquireRecord, SelectRecord
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json
from s2ops.storage.object_store import Store

R = TypeVar("R", SelectRecord, AcquireRecord)

MAX_SEAMS: Final = 200
"""Maximum number of edges kept, worst first; a continent has a hundred thousand."""

_SHOWN_PROPERTIES: Final = ("s2ops:holes", "s2ops:gains", "s2ops:scenes")
"""Item properties that are kept; a whole item takes 40 kB of memory."""

_READER_THREADS: Final = 16
"""Number of threads that read records; they mostly wait for the store."""


@dataclass(frozen=True, slots=True)
class TileRecords:
    """Records of one tile; None for steps that have not run."""

    tile: Tile
    select: SelectRecord | None
    """Scene list; None also for tiles without details."""
    acquired: AcquireRecord | None
    """Acquired scenes; None also for tiles without details."""
    composite: Json | None
    """Item properties that the report shows."""
    mosaic: Json | None
    """Item properties that the report shows."""
    landcover: Json | None
    """Item properties that the report shows."""
    looked: int | None
    """Number of scenes that the select step examined."""
    used: int | None
    """Number of scenes that the acquire step read for the mosaic."""

    @property
    def scenes(self) -> list[Json]:
        """Scenes that the mosaic's provenance refers to, each with id and date."""
        return list((self.mosaic or {}).get("s2ops:scenes", []))


@dataclass(frozen=True, slots=True)
class StepUsage:
    """Resource usage of a step for a tile (or 'all')."""

    step: str
    tile: str
    wall_s: float
    peak_rss_mib: float
    status: str


@dataclass(frozen=True, slots=True)
class StepFailure:
    """Error of a step for a tile."""

    step: str
    tile: str
    error: str


@dataclass(frozen=True, slots=True)
class SeamRecord:
    """Seam metrics of the edge of `tile` towards `neighbour` (docs/explanation/seams.md)."""

    tile: str
    neighbour: str
    before: Json | None
    """Metrics before blending."""
    after: Json | None
    """Metrics after blending."""

    @property
    def rank(self) -> tuple[float, str, str]:
        """Sort key: worst before blending first."""
        return -get_excess(self.before), self.tile, self.neighbour


@dataclass(frozen=True, slots=True)
class SeamSummary:
    """Summary of all measured edges."""

    count: int = 0
    worst: tuple[SeamRecord, ...] = ()
    """At most `MAX_SEAMS` edges, worst before blending first."""
    before: float | None = None
    """Largest excess before blending; None if no edge was measured."""
    after: float | None = None
    """Largest excess after blending; None if no edge was measured."""

    def merge(self, seams: Sequence[SeamRecord]) -> "SeamSummary":
        """Merge the edges of one more tile into a new summary."""
        measured = [seam for seam in seams if seam.before or seam.after]
        before = [self.before, *(get_excess(seam.before) for seam in measured if seam.before)]
        after = [self.after, *(get_excess(seam.after) for seam in measured if seam.after)]
        worst = heapq.nsmallest(MAX_SEAMS, (*self.worst, *measured), key=lambda seam: seam.rank)
        return SeamSummary(self.count + len(measured), tuple(worst), _compute_max(before), _compute_max(after))


def get_excess(figures: Json | None) -> float:
    """Get the excess of an edge: its step divided by that of the landscape; 0 if it was not measured."""
    return float((figures or {}).get("excess", 0.0))


def _compute_max(values: Sequence[float | None]) -> float | None:
    """Compute the maximum of the values that are not None."""
    return max((value for value in values if value is not None), default=None)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All inputs of the report except pixels."""

    config: Json
    """Configuration of the run as stored in the plan; empty if there is no plan."""
    tiles: tuple[TileRecords, ...]
    edges: SeamSummary
    usage: tuple[StepUsage, ...]
    failures: tuple[StepFailure, ...]
    scores: Json
    """Comparison with the truth of a simulated world; empty if there is none."""


def gather_run_facts(store: Store, names: Sequence[str], detailed: int | None = None) -> RunFacts:
    """Read all records of a run; a damaged record counts as missing.

    Args:
        store: Store of the run.
        names: Names of the tiles.
        detailed: Number of tiles that keep their scene lists (default: all), so that a continent fits into memory.
    """
    plan = read_json(store, layout.PLAN) or {}
    tiles, edges = [], SeamSummary()
    most = len(names) if detailed is None else detailed
    for facts, seams in map_ordered(partial(_read_tile, store, most), enumerate(parse_tiles(names)), _READER_THREADS):
        tiles.append(facts)
        edges = edges.merge(seams)
    usage, failures = _read_usage_and_failures(store)
    return RunFacts(
        dict(plan.get("config", {})), tuple(tiles), edges, usage, failures, read_json(store, layout.SCORES) or {}
    )


def _read_tile(store: Store, detailed: int, numbered: tuple[int, Tile]) -> tuple[TileRecords, list[SeamRecord]]:
    """Read the records and edges of one tile, given with its position in the list."""
    number, tile = numbered
    select = _read_record(SelectRecord, store, layout.TileKeys(tile.name).selection)
    acquired = _read_record(AcquireRecord, store, layout.TileKeys(tile.name).acquired)
    items = {
        kind: _read_properties(store, layout.TileKeys(tile.name).get_item(kind))
        for kind in ("composite", "mosaic", "landcover")
    }
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
    """Select the item properties that the report shows."""
    return None if properties is None else {name: properties[name] for name in _SHOWN_PROPERTIES if name in properties}


def _read_record(kind: type[R], store: Store, key: str) -> R | None:
    """Read a record; None if it is missing or damaged."""
    data = store.get(key)
    try:
        return None if data is None else kind.read(data, key)
    except InputError:
        return None


def _read_properties(store: Store, key: str) -> Json | None:
    """Read the properties of an item; None if it is missing or damaged."""
    found = read_json(store, key)
    return None if found is None else dict(found.get("properties", {}))


def _read_usage_and_failures(store: Store) -> tuple[tuple[StepUsage, ...], tuple[StepFailure, ...]]:
    """Read the run records and failure records of all steps."""
    usage, failures = [], []
    for value in map_ordered(partial(read_json, store), store.list_keys("run"), _READER_THREADS):
        if value is None:
            continue
        step, tile, status = (str(value.get(name, "")) for name in ("step", "tile", "status"))
        if {"step", "tile", "wall_s", "peak_rss_mib"} <= value.keys():
            usage.append(StepUsage(step, tile, float(value["wall_s"]), float(value["peak_rss_mib"]), status))
        elif {"step", "tile", "error"} <= value.keys():
            failures.append(StepFailure(step, tile, str(value["error"])))
    return tuple(usage), tuple(failures)
