"""Run history: run records, finished tiles and measured rates that a run has written to its `out`."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from s2ops.cost import rates
from s2ops.cost.acquisition_model import ExpectedScene
from s2ops.cost.rates import Rates, SceneCheck
from s2ops.cost.scene_model import SceneCounts, predict_scene_counts
from s2ops.errors import ConfigError, InputError, S2opsError, StoreUnreachable
from s2ops.records import SelectRecord
from s2ops.run.context import RunContext
from s2ops.run.run_record import RunRecord
from s2ops.runtime.threads import map_ordered
from s2ops.storage import layout
from s2ops.storage.object_store import Store, read_text

RATES_VARIABLE: Final = "S2OPS_RATES"
"""Environment variable with the rates for planning a run: a file, or the `out` of a finished run."""

_READER_THREADS: Final = 16


def is_store_reachable(out: str) -> bool:
    """Return whether the store can be accessed; a bucket may not exist yet, or credentials may be missing here."""
    try:
        if has_output(out):
            Store(out).has_key(layout.RATES)
    except StoreUnreachable:
        return False
    return True


def select_rates(out: str | None, given: str | None = None) -> Rates:
    """Select the rates to plan with: given rates, those of an earlier run in the same `out`, or those of the package.

    Args:
        out: Output place of the run, or None.
        given: Rates file, or `out` of a finished run; None: the variable S2OPS_RATES, if it is set.
    """
    named = given or os.environ.get(RATES_VARIABLE)
    if named:
        return load_rates(named)
    if out is None or not has_output(out):
        return rates.load_packaged_rates()
    data = Store(out).get(layout.RATES)
    return rates.load_packaged_rates() if data is None else rates.parse_rates(data, f"{out}/{layout.RATES}")


def load_rates(place: str) -> Rates:
    """Load rates.

    Args:
        place: Path or URI of a .json file, or the `out` (folder or bucket) of a finished run.

    Raises:
        ConfigError: If there are no rates, or they are invalid.
    """
    if place.endswith(".json"):
        return rates.parse_rates(read_text(place, "the rates").encode(), place)
    data = Store(place).get(layout.RATES) if has_output(place) else None
    if data is None:
        raise ConfigError(
            f"rates {place}: there is no {layout.RATES}; give the `out` of a finished run, or a .json file."
        )
    return rates.parse_rates(data, f"{place}/{layout.RATES}")


def has_output(out: str) -> bool:
    """Return whether `out` may contain files; a missing local folder is not created by this check."""
    folder = Store(out).folder
    return folder is None or folder.is_dir()


def find_done_tiles(ctx: RunContext) -> dict[str, frozenset[str]]:
    """Find the tiles whose marker exists, by step. Only the run determines if a marker is current for its inputs."""
    if not has_output(ctx.config.out):
        return {}
    select = {Path(key).stem for key in ctx.store.list_keys("select") if key.endswith(".json")}
    found = {
        product: {parsed[1] for key in ctx.store.list_keys(product) if (parsed := layout.parse_item_key(key))}
        for product in layout.PRODUCTS
    }
    steps = {"select": select, "composite": found["composite"], "acquire": found["composite"]}
    steps |= {"blend": found["mosaic"], "landcover": found["landcover"]}
    return {step: frozenset(names) for step, names in steps.items()}


def read_run_records(store: Store, tiles: Iterable[str]) -> Iterator[RunRecord]:
    """Read the run records of tiles; unreadable records and records of older versions are skipped."""
    names = {"all", *tiles}
    keys = [key for key in store.list_keys("run") if key.count("/") == 2 and key.endswith(".json")]
    wanted = [key for key in keys if Path(key).stem in names]  # the stem of a failure record is T.failed

    def read(key: str) -> RunRecord | None:
        with suppress(InputError):
            return RunRecord.read(store.get(key) or b"", key)
        return None

    yield from (one for one in map_ordered(read, wanted, _READER_THREADS) if one is not None)


def count_scenes(one: RunRecord) -> SceneCounts:
    """Count the scenes that a step processed for a tile, from its run record."""
    facts = {name: float(value) for name, value in one.facts.items() if not isinstance(value, str)}
    match one.step:
        case "select":
            return SceneCounts(candidates=facts.get("candidates", 0), selected=facts.get("selected", 0))
        case "acquire":
            used, series = facts.get("scenes", 0), facts.get("series", 0)
            # Scenes that existed before the run are not in `rasters`.
            return SceneCounts(used=used, read=max(one.rasters / 2, used + series))
        case "landcover":
            return SceneCounts(dates=facts.get("dates", 0))
    return SceneCounts()


def learn_rates(ctx: RunContext, prior: Rates) -> Rates:
    """Update `prior` with the measurements of the run in `out`."""
    found = read_run_records(ctx.store, [tile.name for tile in ctx.tiles])
    here = [one for one in found if one.resolution == ctx.res]
    return rates.update_rates(prior, here, _check_scene_counts(ctx, here), f"the run in {ctx.config.out}")


def _check_scene_counts(ctx: RunContext, found: list[RunRecord]) -> SceneCheck | None:
    """Compare modelled with found scene counts for the scenes that select evaluated; None if no tile is finished."""
    tiles = {
        step: {one.tile for one in found if one.step == step} for step in ("select", "acquire", "landcover")
    }  # fmt: skip
    finished = tiles["select"] & tiles["acquire"]
    if ctx.config.landcover.enabled:
        finished &= tiles["landcover"]
    if not finished:
        return None

    def predict_counts(name: str) -> SceneCounts:
        key = layout.TileKeys(name).selection
        record = SelectRecord.read(ctx.store.get(key) or b"", key)
        return predict_scene_counts(list_expected_scenes(record), ctx.config)

    total = sum(map_ordered(predict_counts, sorted(finished), _READER_THREADS), SceneCounts())
    real = sum((count_scenes(one) for one in found if one.tile in finished), SceneCounts())
    return SceneCheck(catalog=ctx.config.catalog, tiles=len(finished), modelled=total.to_json(), found=real.to_json())


def list_expected_scenes(record: SelectRecord) -> list[ExpectedScene]:
    """List the candidates of a tile with only the properties in the catalog, which is what a plan is based on."""
    return [ExpectedScene(one.catalog_cloud / 100, one.nodata) for one in record.candidates]


def write_rates(ctx: RunContext) -> None:
    """Write OUT/run/rates.json at the end of a run. Errors are ignored, so that no run fails here."""
    with suppress(S2opsError):
        try:
            prior = select_rates(ctx.config.out)
        except ConfigError:  # of another version, or damaged: the run's own records remain
            prior = rates.load_packaged_rates()
        ctx.store.put(layout.RATES, learn_rates(ctx, prior).write())
