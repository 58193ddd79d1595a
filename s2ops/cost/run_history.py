"""What a run has left in its `out`: run records, what is made already, and the rates that it measured."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from s2ops.cost import rates
from s2ops.cost.acquisition_model import Sight
from s2ops.cost.rates import Rates, SceneCheck
from s2ops.cost.scene_model import Scenes, expected
from s2ops.errors import ConfigError, InputError, S2opsError, StoreUnreachable
from s2ops.records import SelectRecord
from s2ops.run.context import Job
from s2ops.run.run_record import RunRecord
from s2ops.runtime.threads import in_order
from s2ops.storage import layout
from s2ops.storage.object_store import Store
from s2ops.storage.text_files import read_text

VARIABLE: Final = "S2OPS_RATES"
"""Environment variable of the rates that a run begins with: a file, or the `out` of a finished run."""

_READERS: Final = 16


def answers(out: str) -> bool:
    """Whether the store can be asked now: a bucket that is yet to come, or without credentials here, does not."""
    try:
        if exists(out):
            Store(out).exists(layout.RATES)
    except StoreUnreachable:
        return False
    return True


def rates_for(out: str | None, given: str | None = None) -> Rates:
    """The rates to plan with: those named, else what an earlier run left in the same `out`, else the package's."""
    named = given or os.environ.get(VARIABLE)
    if named:
        return load_rates(named)
    if out is None or not exists(out):
        return rates.packaged()
    data = Store(out).get(layout.RATES)
    return rates.packaged() if data is None else rates.parse(data, f"{out}/{layout.RATES}")


def load_rates(place: str) -> Rates:
    """Rates of a file or URI that ends with .json, or those that the run in that folder or bucket left."""
    if place.endswith(".json"):
        return rates.parse(read_text(place, "the rates").encode(), place)
    data = Store(place).get(layout.RATES) if exists(place) else None
    if data is None:
        raise ConfigError(
            f"rates {place}: there is no {layout.RATES}; give the `out` of a finished run, or a .json file"
        )
    return rates.parse(data, f"{place}/{layout.RATES}")


def exists(out: str) -> bool:
    """Whether there may be something: a local folder that is not there is not made by looking into it."""
    folder = Store(out).folder
    return folder is None or folder.is_dir()


def made(job: Job) -> dict[str, frozenset[str]]:
    """By step, the tiles whose marker is there. Whether it still stands for today's inputs only the run finds out."""
    if not exists(job.config.out):
        return {}
    select = {Path(key).stem for key in job.store.keys("select") if key.endswith(".json")}
    found = {
        product: {key.split("/")[1] for key in job.store.keys(product) if key.endswith("/item.json")}
        for product in ("composite", "mosaic", "landcover")
    }
    steps = {"select": select, "composite": found["composite"], "acquire": found["composite"]}
    steps |= {"blend": found["mosaic"], "landcover": found["landcover"]}
    return {step: frozenset(names) for step, names in steps.items()}


def records(store: Store, tiles: Iterable[str]) -> Iterator[RunRecord]:
    """All run records of those tiles that can be read; those of older versions said less and are passed over."""
    names = {"all", *tiles}
    there = [key for key in store.keys("run") if key.count("/") == 2 and key.endswith(".json")]
    wanted = [key for key in there if Path(key).stem in names]  # the stem of a failure is T.failed

    def read(key: str) -> RunRecord | None:
        with suppress(InputError):
            return RunRecord.read(store.get(key) or b"", key)
        return None

    yield from (one for one in in_order(read, wanted, _READERS) if one is not None)


def scenes_of(one: RunRecord) -> Scenes:
    """How many scenes a step handled for a tile."""
    facts = {name: float(value) for name, value in one.facts.items() if not isinstance(value, str)}
    match one.step:
        case "select":
            return Scenes(candidates=facts.get("candidates", 0), selected=facts.get("selected", 0))
        case "acquire":
            used, series = facts.get("scenes", 0), facts.get("series", 0)
            return Scenes(used=used, read=max(one.rasters / 2, used + series))  # some may have stood before
        case "landcover":
            return Scenes(dates=facts.get("dates", 0))
    return Scenes()


def learn(job: Job, prior: Rates) -> Rates:
    """`prior` with what the run in the job's `out` has measured."""
    found = records(job.store, [tile.name for tile in job.tiles])
    here = [one for one in found if one.resolution == job.res]
    return rates.updated(prior, here, _check(job, here), f"the run in {job.config.out}")


def _check(job: Job, found: list[RunRecord]) -> SceneCheck | None:
    """The model's numbers for the scenes that select saw, beside those of the run; None where tiles are missing."""
    tiles = {
        step: {one.tile for one in found if one.step == step} for step in ("select", "acquire", "landcover")
    }  # fmt: skip
    through = tiles["select"] & tiles["acquire"]
    if job.config.landcover.enabled:
        through &= tiles["landcover"]
    if not through:
        return None

    def modelled(name: str) -> Scenes:
        record = SelectRecord.read(job.store.get(layout.select(name)) or b"", layout.select(name))
        return expected(sights_of(record), job.config)

    total = sum(in_order(modelled, sorted(through), _READERS), Scenes())
    real = sum((scenes_of(one) for one in found if one.tile in through), Scenes())
    return SceneCheck(catalog=job.config.catalog, tiles=len(through), modelled=total.to_json(), found=real.to_json())


def sights_of(record: SelectRecord) -> list[Sight]:
    """The candidates of a tile as the catalog describes them, which is all that a plan knows of them."""
    return [Sight(one.catalog_cloud / 100, one.nodata) for one in record.candidates]


def leave_rates(job: Job) -> None:
    """Write OUT/run/rates.json at a run's end. What cannot be measured is left: no run fails for it."""
    with suppress(S2opsError):
        try:
            prior = rates_for(job.config.out)
        except ConfigError:  # of another version, or damaged: the run's own records are there
            prior = rates.packaged()
        job.store.put(layout.RATES, learn(job, prior).write())
