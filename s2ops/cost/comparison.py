"""Predicted beside actual: what a plan said of a run, and what its run records say."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from s2ops.cost import plan_file, run_history
from s2ops.cost.estimate import Took
from s2ops.cost.scene_model import Scenes
from s2ops.cost.work_units import WORK
from s2ops.errors import NotMade
from s2ops.run.run_record import FROM_CATALOG, RunRecord
from s2ops.storage import layout
from s2ops.storage.object_store import Store

WITHIN: Final = 0.25
"""Part of the actual figure by which a prediction may be off."""

SCENES: Final = {
    "candidates": "candidates",
    "selected": "scenes selected",
    "used": "scenes in the mosaic",
    "read": "scenes read",
    "dates": "dates classified",
}


@dataclass(frozen=True)
class Line:
    """One figure."""

    what: str
    unit: str
    predicted: float
    actual: float
    goal: bool
    """Whether it is one of those that should lie within WITHIN; the steps' own figures are for looking closer."""

    @property
    def off(self) -> float | None:
        """By which part of the actual figure the prediction is too high; None where there is nothing to compare."""
        return (self.predicted - self.actual) / self.actual if self.actual else None

    @property
    def holds(self) -> bool:
        """Whether it lies within WITHIN."""
        return self.off is not None and abs(self.off) <= WITHIN


def compare(scenes: Scenes, by_step: dict[str, Took], found: Iterable[RunRecord]) -> list[Line]:
    """Scenes, bytes and processor time in all, then processor time by step: of the steps that have a record."""
    real_scenes, actual = Scenes(), dict[str, Took]()
    for one in found:  # once through: a continent has 100,000 records
        real_scenes += run_history.scenes_of(one)
        actual[one.step] = actual.get(one.step, Took()) + _took(one)
    actual = {step: actual[step] for step in WORK if step in actual}
    real = real_scenes.to_json()
    lines = [
        Line(words, "", value, real[name], goal=name in {"candidates", "used", "read"})
        for name, words in SCENES.items()
        if (value := scenes.to_json()[name]) or real[name]
    ]
    # what these read lies in `out`; on this machine's disk it is counted with what libraries read, which nobody pays
    later = tuple(step for step in actual if step not in FROM_CATALOG)
    for name, words, unit, steps in (
        ("cpu_s", "processor time", "s", tuple(actual)),
        ("read_bytes", "bytes read of scenes", "B", tuple(step for step in actual if step in FROM_CATALOG)),
        ("read_bytes", "bytes read of the run's own files", "B", later),
        ("written_bytes", "bytes written", "B", tuple(actual)),
    ):
        said = sum(getattr(by_step.get(step, Took()), name) for step in steps)
        real_sum = sum(getattr(actual[step], name) for step in steps)
        lines.append(Line(words, unit, said, real_sum, goal=not (name == "read_bytes" and steps == later)))
    lines += [
        Line(f"processor time of {step}", "s", by_step.get(step, Took()).cpu_s, one.cpu_s, goal=False)
        for step, one in actual.items()
    ]
    return lines


def _took(one: RunRecord) -> Took:
    get, put = one.requests.get("get", 0), one.requests.get("put", 0)
    return Took(cpu_s=one.lasting_cpu_s, read_bytes=one.read_bytes, written_bytes=one.written_bytes, get=get, put=put)


def of_run(store: Store, tiles: Iterable[str]) -> list[Line]:
    """The stored plan of a run beside its records. NotMade where either is missing, InputError for a broken plan."""
    data = store.get(layout.FORECAST) if run_history.exists(store.uri) else None
    if data is None:
        raise NotMade(f"{store.uri} has no {layout.FORECAST}, which a run's plan step leaves: run it, or name --rates")
    stored = plan_file.read(data, layout.FORECAST)
    return of_records(store, tiles, stored.numbers_of_scenes(), stored.by_step())


def of_records(store: Store, tiles: Iterable[str], scenes: Scenes, by_step: dict[str, Took]) -> list[Line]:
    """Any plan beside the run's records; NotMade where there is none."""
    lines = compare(scenes, by_step, run_history.records(store, tiles) if run_history.exists(store.uri) else ())
    if not any(one.actual for one in lines):
        raise NotMade(f"{store.uri} has no run records (run/STEP/T.json) of this version: run it first")
    return lines


def to_json(lines: Iterable[Line]) -> list[dict[str, object]]:
    """For `--json`."""
    return [{**vars(one), "off": None if one.off is None else round(one.off, 4)} for one in lines]
