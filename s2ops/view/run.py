"""Run that is viewed: its plan and the current state of its tiles. The run may still be going on."""

import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar
from urllib.parse import urlsplit

from s2ops.constants import Json
from s2ops.errors import GridError, InputError, S2opsError
from s2ops.geo.mgrs_tiles import Tile, TileIndex, parse_tile
from s2ops.records import AcquireRecord, Record
from s2ops.results import TILE_STEPS
from s2ops.run import missing_tiles
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout
from s2ops.storage.object_store import Store
from s2ops.view import facts
from s2ops.view.facts import TileStatus, TileSummary

R = TypeVar("R", bound=Record)

_READER_THREADS: Final = 16
"""Number of threads that read records; they mostly wait for the store."""

_BATCH_TILES: Final = 500
"""Number of tiles whose records are read before the page opens; those of further tiles are read while it is shown."""

_REFRESH_INTERVAL_S: Final = {True: 5.0, False: 60.0}
"""Seconds after which a folder (True) or a bucket (False) is listed again when the state is requested."""

_MAX_PROBLEMS: Final = 100
"""Maximum number of problems that are kept."""

_LISTED_PREFIXES: Final = ("mosaic", "landcover", *map(layout.get_run_records_prefix, TILE_STEPS))


@dataclass(frozen=True)
class RunState:
    """State of a run at one time. Immutable: a newer state replaces it."""

    tiles: Mapping[str, TileSummary]
    """Status of each tile whose records have been read."""
    versions: Mapping[str, str]
    """Version of each key under mosaic/, landcover/ and run/; it changes when the object changes."""
    steps: Mapping[str, int]
    """Number of tiles that each step has finished."""
    complete: bool = True
    """False while records are still being read."""

    @cached_property
    def counts(self) -> dict[TileStatus, int]:
        """Number of tiles by status."""
        return dict(Counter(one.status for one in self.tiles.values()))

    @cached_property
    def dates(self) -> tuple[str, ...]:
        """Acquisition days of all scenes in the mosaic, oldest first."""
        return tuple(sorted({scene.date for one in self.tiles.values() for scene in one.scenes}))

    @cached_property
    def own_dates(self) -> tuple[str, ...]:
        """Acquisition days without scenes of neighbours, whose files the run does not contain; oldest first."""
        return tuple(sorted({day for one in self.tiles.values() for day in one.dates}))

    @cached_property
    def tag(self) -> str:
        """Tag that changes with every change of the state."""
        facts_of = sorted(self.versions.items()), self.complete, sorted(self.tiles)
        return sha256(repr(facts_of).encode()).hexdigest()[:16]


class ViewedRun:
    """Run that is viewed. Thread-safe; methods that may block while the store is read state that."""

    def __init__(self, out: str) -> None:
        """Read the plan and the first records of `out` (blocks); raise InputError if it is not a run."""
        self.store = _open_store(out)
        self.title = _build_title(out)
        self._problems: dict[str, None] = {}
        self._lock, self._refreshing = threading.Lock(), False
        plan, versions = self._read_plan(), self._list_versions()
        self.config: Json = plan.get("config") if isinstance(plan.get("config"), dict) else {}  # type: ignore[assignment]
        self.tiles = self._parse_tiles(plan, versions, out)
        self.index = TileIndex(self.tiles)
        self._by_name = {one.name: one for one in self.tiles}
        self._mosaics: dict[str, tuple[str, TileSummary]] = {}
        self._worker = ThreadPoolExecutor(1, "s2ops-view-records")
        self.read_acquired = lru_cache(maxsize=2_000)(self._read_acquired)
        self._state = RunState({}, {}, {}, complete=False)
        self._read_state(versions, max_tiles=_BATCH_TILES)
        self._read_at = monotonic() if self._state.complete else 0.0

    @property
    def res(self) -> int:
        """Pixel size in metres."""
        stated = self.config.get("resolution")
        return stated if isinstance(stated, int) and 0 < stated <= 120 else 10

    @property
    def has_landcover(self) -> bool:
        """True if the run makes a land-cover map."""
        stated = self.config.get("landcover")
        return not (isinstance(stated, dict) and stated.get("enabled") is False)

    def get_tile(self, name: str) -> Tile | None:
        """Get a tile by name; None if it is not part of the run."""
        return self._by_name.get(name)

    @property
    def state(self) -> RunState:
        """Current state. Does not block: if the state is too old, it is read again in the background."""
        with self._lock:
            due = monotonic() - self._read_at > _REFRESH_INTERVAL_S[self.store.folder is not None]
            if due and not self._refreshing:
                self._refreshing = True
                self._worker.submit(self._refresh)
            return self._state

    @property
    def problems(self) -> tuple[str, ...]:
        """Files that could not be read, one sentence each."""
        with self._lock:
            return tuple(self._problems)

    def note(self, problem: str) -> None:
        """Note that a file could not be read, to be shown on the page."""
        with self._lock:
            if len(self._problems) < _MAX_PROBLEMS:
                self._problems.setdefault(problem)

    def close(self) -> None:
        """Close the run: the store is not read again."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def read_record(self, key: str, kind: type[R]) -> R | None:
        """Read a record (blocks); None if it is missing or damaged, which is noted."""
        data = self.store.get(key)
        try:
            return None if data is None else kind.read(data, key)
        except InputError as error:
            self.note(str(error))
            return None

    def _read_acquired(self, name: str, _version: str) -> AcquireRecord | None:
        """Read the acquired scenes of a tile (blocks); `_version` is part of the cache key."""
        return self.read_record(layout.TileKeys(name).acquired, AcquireRecord)

    def _read_plan(self) -> Json:
        """Read the plan; empty if it is missing or damaged, which is noted."""
        try:
            return facts.parse_json_object(self.store.get(layout.PLAN), layout.PLAN)
        except ValueError as error:
            self.note(f"{error}; the map shows the tiles that have outputs")
            return {}

    def _list_versions(self) -> dict[str, str]:
        """List the keys that determine the state, with their versions."""
        with ThreadPoolExecutor(len(_LISTED_PREFIXES)) as threads:
            found: dict[str, str] = {}
            for part in threads.map(self.store.list_versions, _LISTED_PREFIXES):
                found |= part
        return found

    def _parse_tiles(self, plan: Json, versions: Mapping[str, str], out: str) -> tuple[Tile, ...]:
        """Parse the tiles of the plan, or of the outputs if there is no plan."""
        planned = plan.get("tiles")
        names = (
            planned if isinstance(planned, dict) else {key.split("/")[1] for key in versions if key.endswith(".tif")}
        )
        found = []
        for name in sorted(names):
            try:
                found.append(parse_tile(name))
            except GridError as error:
                self.note(f"{layout.PLAN}: {error}")
        if not found:
            raise InputError(
                f"{out} is not a run: it has neither a readable {layout.PLAN} nor a mosaic; give the `out` of a run."
            )
        return tuple(sorted(set(found)))

    def _refresh(self) -> None:
        """Read the state again, in the background."""
        try:
            self._read_state(self._list_versions())
        except S2opsError as error:
            self.note(str(error))
        finally:
            with self._lock:
                self._read_at, self._refreshing = monotonic(), False

    def _read_state(self, versions: dict[str, str], max_tiles: int | None = None) -> None:
        """Read new records, and publish an intermediate state after every batch of tiles."""
        missing = self._read_missing(versions)
        steps = Counter(key.split("/")[1] for key in versions if layout.is_run_record(key))
        found: dict[str, TileSummary] = {}
        names = [one.name for one in self.tiles[:max_tiles]]
        for name, one in zip(
            names,
            map_ordered(lambda name: self._read_tile(name, versions, missing), names, _READER_THREADS),
            strict=True,
        ):
            found[name] = one
            if len(found) % _BATCH_TILES == 0 and not self._state.complete:
                self._publish(RunState(dict(found), versions, steps, complete=False))
        self._publish(RunState(found, versions, steps, complete=len(names) == len(self.tiles)))

    def _publish(self, state: RunState) -> None:
        """Replace the state."""
        with self._lock:
            self._state = state

    def _read_missing(self, versions: Mapping[str, str]) -> Json | None:
        """Read the reasons for missing tiles from the catalog; None until the run is published."""
        data = self.store.get(layout.CATALOG)
        if data is None or not versions:
            return None
        try:
            found = facts.parse_json_object(data, layout.CATALOG).get(missing_tiles.MISSING_FIELD, {})
        except ValueError as error:
            self.note(str(error))
            return {}
        return found if isinstance(found, dict) else {}

    def _read_tile(self, name: str, versions: Mapping[str, str], missing: Json | None) -> TileSummary:
        """Read the status of a tile."""
        for step in TILE_STEPS:
            if layout.TileKeys(name).get_failure(step) in versions:
                return TileSummary(name, "failed", facts.read_failure(self.store, step, name))
        items = {product: layout.TileKeys(name).get_item(product) for product in ("mosaic", "landcover")}
        existing = [product for product, key in items.items() if key in versions]
        if "mosaic" not in existing:
            return _describe_unfinished(name, versions, missing)
        version = " ".join(versions[items[product]] for product in existing)
        known = self._mosaics.get(name)
        if known is None or known[0] != version:
            known = self._mosaics[name] = (version, self._read_mosaic(name, "landcover" in existing))
        return known[1]

    def _read_mosaic(self, name: str, has_landcover: bool) -> TileSummary:
        """Read the status of a tile that has a mosaic."""
        try:
            holes, edges, scenes = facts.read_mosaic_facts(self.store, name)
            areas = facts.read_class_areas(self.store, name) if has_landcover else {}
        except ValueError as error:
            self.note(str(error))
            return TileSummary(name, "damaged", f"{error}; delete it and run again")
        if self.has_landcover and not has_landcover:
            return TileSummary(name, "waiting", "the mosaic is finished, the land cover is not", holes, edges, scenes)
        status: TileStatus = "empty" if holes >= 1 else "done"
        reason = "no scene has clear pixels" if status == "empty" else ""
        return TileSummary(name, status, reason, holes, edges, scenes, areas)


def _describe_unfinished(name: str, versions: Mapping[str, str], missing: Json | None) -> TileSummary:
    """Describe a tile without mosaic."""
    if missing is not None and name in missing:
        return TileSummary(name, "missing", str(missing[name]))
    finished = [step for step in TILE_STEPS if layout.TileKeys(name).get_run_record(step) in versions]
    return TileSummary(name, "waiting", f"not finished; {finished[-1]} is done" if finished else "not started")


def _open_store(out: str) -> Store:
    """Open the store of a run; raise InputError if the folder does not exist."""
    store = Store(out)
    if store.folder is not None and not store.folder.is_dir():  # any access to the store would create the folder
        raise InputError(f"{out} is not a folder: give the `out` of a run, a folder or a URI such as s3://bucket/run.")
    return store


def _build_title(out: str) -> str:
    """Build the title of a run, without the path on this machine."""
    parts = urlsplit(out)
    if parts.scheme in {"", "file"}:
        return Path(parts.path).resolve().name
    return f"{parts.netloc}{parts.path}".rstrip("/")
