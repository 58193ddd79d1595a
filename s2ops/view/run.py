"""A run that is looked at: its plan, and what is known of its tiles by now. It may still be running."""

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
from s2ops.run import missing_tiles
from s2ops.runtime.threads import ordered_map
from s2ops.storage import layout
from s2ops.storage.object_store import Store
from s2ops.view import facts
from s2ops.view.facts import STEPS, Status, TileSummary

R = TypeVar("R", bound=Record)

_READER_THREADS: Final = 16
"""Threads that read records: they only wait for the store."""

_BATCH_TILES: Final = 500
"""Tiles whose records are read before the page opens; of a larger run the rest follows while it is shown."""

_REFRESH_INTERVAL_S: Final = {True: 5.0, False: 60.0}
"""Seconds after which a folder (True) or a bucket (False) is listed again, if somebody looks."""

_MAX_PROBLEMS: Final = 100

_LISTED_PREFIXES: Final = ("mosaic", "landcover", *map(layout.get_run_records_prefix, STEPS))


@dataclass(frozen=True)
class RunState:
    """All that is known at one moment. Never changed: a newer one replaces it."""

    tiles: Mapping[str, TileSummary]
    versions: Mapping[str, str]
    """Of each key under mosaic/, landcover/ and run/."""
    steps: Mapping[str, int]
    """Tiles that each step has finished."""
    complete: bool = True
    """False while records are still being read."""

    @cached_property
    def counts(self) -> dict[Status, int]:
        """Tiles of each status."""
        return dict(Counter(one.status for one in self.tiles.values()))

    @cached_property
    def dates(self) -> tuple[str, ...]:
        """All days of which some pixel of the mosaic may be, oldest first."""
        return tuple(sorted({scene.date for one in self.tiles.values() for scene in one.scenes}))

    @cached_property
    def own_dates(self) -> tuple[str, ...]:
        """The same without neighbours' scenes: days of which single scenes can be shown."""
        return tuple(sorted({day for one in self.tiles.values() for day in one.dates}))

    @cached_property
    def tag(self) -> str:
        """Changes when anything does."""
        facts_of = sorted(self.versions.items()), self.complete, sorted(self.tiles)
        return sha256(repr(facts_of).encode()).hexdigest()[:16]


class ViewedRun:
    """One run. Safe for threads; a call that may wait for the store says so."""

    def __init__(self, out: str) -> None:
        """Read the plan and list what is there (waits). InputError where `out` is no run."""
        self.store = _open_store(out)
        self.title = _build_title(out)
        self._problems: dict[str, None] = {}
        self._lock, self._refreshing = threading.Lock(), False
        plan, listed = self._plan(), self._listing()
        self.config: Json = plan.get("config") if isinstance(plan.get("config"), dict) else {}  # type: ignore[assignment]
        self.tiles = self._tiles(plan, listed, out)
        self.index = TileIndex(self.tiles)
        self._by_name = {one.name: one for one in self.tiles}
        self._mosaics: dict[str, tuple[str, TileSummary]] = {}
        self._worker = ThreadPoolExecutor(1, "s2ops-view-records")
        self.acquired = lru_cache(maxsize=2_000)(self._acquired)
        self._state = RunState({}, {}, {}, complete=False)
        self._read(listed, at_most=_BATCH_TILES)
        self._looked = monotonic() if self._state.complete else 0.0

    @property
    def res(self) -> int:
        """Metres a pixel."""
        stated = self.config.get("resolution")
        return stated if isinstance(stated, int) and 0 < stated <= 120 else 10

    @property
    def has_landcover(self) -> bool:
        """Whether the run makes a land-cover map."""
        stated = self.config.get("landcover")
        return not (isinstance(stated, dict) and stated.get("enabled") is False)

    def tile(self, name: str) -> Tile | None:
        """The run's tile of that name."""
        return self._by_name.get(name)

    @property
    def state(self) -> RunState:
        """What is known now, at once; a look at the store is begun where the last is too long ago."""
        with self._lock:
            due = monotonic() - self._looked > _REFRESH_INTERVAL_S[self.store.folder is not None]
            if due and not self._refreshing:
                self._refreshing = True
                self._worker.submit(self._refresh)
            return self._state

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be read, a sentence each."""
        with self._lock:
            return tuple(self._problems)

    def note(self, problem: str) -> None:
        """Remember what is wrong with a file, for the page to say."""
        with self._lock:
            if len(self._problems) < _MAX_PROBLEMS:
                self._problems.setdefault(problem)

    def close(self) -> None:
        """Begin no further look at the store."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def read_record(self, key: str, kind: type[R]) -> R | None:
        """The record at `key`; None where it is not there, or cannot be read, which is noted (waits)."""
        data = self.store.get(key)
        try:
            return None if data is None else kind.read(data, key)
        except InputError as error:
            self.note(str(error))
            return None

    def _acquired(self, name: str, _version: str) -> AcquireRecord | None:
        """The scenes of a tile (waits the first time); another `_version` makes it read them again."""
        return self.read_record(layout.TileKeys(name).acquired, AcquireRecord)

    def _plan(self) -> Json:
        try:
            return facts.parse_json_object(self.store.get(layout.PLAN), layout.PLAN)
        except ValueError as error:
            self.note(f"{error}; tiles are those that have outputs")
            return {}

    def _listing(self) -> dict[str, str]:
        with ThreadPoolExecutor(len(_LISTED_PREFIXES)) as threads:
            found: dict[str, str] = {}
            for part in threads.map(self.store.list_versions, _LISTED_PREFIXES):
                found |= part
        return found

    def _tiles(self, plan: Json, listed: Mapping[str, str], out: str) -> tuple[Tile, ...]:
        planned = plan.get("tiles")
        names = planned if isinstance(planned, dict) else {key.split("/")[1] for key in listed if key.endswith(".tif")}
        found = []
        for name in sorted(names):
            try:
                found.append(parse_tile(name))
            except GridError as error:
                self.note(f"{layout.PLAN}: {error}")
        if not found:
            raise InputError(
                f"{out} is no run: it has neither a readable {layout.PLAN} nor a mosaic; give a run's `out`"
            )
        return tuple(sorted(set(found)))

    def _refresh(self) -> None:
        try:
            self._read(self._listing())
        except S2opsError as error:
            self.note(str(error))
        finally:
            with self._lock:
                self._looked, self._refreshing = monotonic(), False

    def _read(self, listed: dict[str, str], at_most: int | None = None) -> None:
        """Read the records that are new, and publish states as they grow."""
        ended = self._ended(listed)
        steps = Counter(key.split("/")[1] for key in listed if layout.is_run_record(key))
        found: dict[str, TileSummary] = {}
        names = [one.name for one in self.tiles[:at_most]]
        for name, one in zip(
            names, ordered_map(lambda name: self._tile(name, listed, ended), names, _READER_THREADS), strict=True
        ):
            found[name] = one
            if len(found) % _BATCH_TILES == 0 and not self._state.complete:
                self._publish(RunState(dict(found), listed, steps, complete=False))
        self._publish(RunState(found, listed, steps, complete=len(names) == len(self.tiles)))

    def _publish(self, state: RunState) -> None:
        with self._lock:
            self._state = state

    def _ended(self, listed: Mapping[str, str]) -> Json | None:
        """catalog.json's reasons for missing tiles; None while the run has not published."""
        data = self.store.get(layout.CATALOG)
        if data is None or not listed:
            return None
        try:
            found = facts.parse_json_object(data, layout.CATALOG).get(missing_tiles.MISSING_FIELD, {})
        except ValueError as error:
            self.note(str(error))
            return {}
        return found if isinstance(found, dict) else {}

    def _tile(self, name: str, listed: Mapping[str, str], ended: Json | None) -> TileSummary:
        for step in STEPS:
            if layout.TileKeys(name).get_failure(step) in listed:
                return TileSummary(name, "failed", facts.read_failure(self.store, step, name))
        made = [product for product in ("mosaic", "landcover") if layout.TileKeys(name).get_item(product) in listed]
        if "mosaic" not in made:
            return _describe_unfinished(name, listed, ended)
        version = " ".join(listed[layout.TileKeys(name).get_item(product)] for product in made)
        known = self._mosaics.get(name)
        if known is None or known[0] != version:
            known = self._mosaics[name] = (version, self._made(name, "landcover" in made))
        return known[1]

    def _made(self, name: str, has_landcover: bool) -> TileSummary:
        try:
            holes, edges, scenes = facts.read_mosaic_facts(self.store, name)
            areas = facts.read_class_areas(self.store, name) if has_landcover else {}
        except ValueError as error:
            self.note(str(error))
            return TileSummary(name, "damaged", f"{error}; delete it and run again")
        if self.has_landcover and not has_landcover:
            return TileSummary(name, "waiting", "the mosaic is done, land cover is not made yet", holes, edges, scenes)
        status: Status = "empty" if holes >= 1 else "done"
        reason = "no scene shows any of it clear" if status == "empty" else ""
        return TileSummary(name, status, reason, holes, edges, scenes, areas)


def _describe_unfinished(name: str, listed: Mapping[str, str], ended: Json | None) -> TileSummary:
    if ended is not None and name in ended:
        return TileSummary(name, "missing", str(ended[name]))
    through = [step for step in STEPS if layout.TileKeys(name).get_run_record(step) in listed]
    return TileSummary(name, "waiting", f"not made yet; {through[-1]} is done" if through else "not begun yet")


def _open_store(out: str) -> Store:
    store = Store(out)
    if store.folder is not None and not store.folder.is_dir():  # a Store would make the folder
        raise InputError(f"{out} is no folder: give the `out` of a run, a folder or a URI such as s3://bucket/run")
    return store


def _build_title(out: str) -> str:
    """What the page calls the run: no path of this machine."""
    parts = urlsplit(out)
    if parts.scheme in {"", "file"}:
        return Path(parts.path).resolve().name
    return f"{parts.netloc}{parts.path}".rstrip("/")
