"""Comparison of predicted and actual amounts: a plan against the run records of the same run."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from s2ops.cost import plan_file, run_history
from s2ops.cost.estimate import ResourceAmounts
from s2ops.cost.scene_model import SceneCounts
from s2ops.cost.work_units import STEP_EFFORT
from s2ops.errors import MissingInput
from s2ops.results import StepName
from s2ops.run.run_record import RunRecord
from s2ops.storage import layout
from s2ops.storage.object_store import Store

MAX_RELATIVE_ERROR: Final = 0.25
"""Goal for the accuracy of a prediction: maximum error as a fraction of the actual value."""

SCENE_LABELS: Final = {
    "candidates": "candidates",
    "selected": "scenes selected",
    "used": "scenes in the mosaic",
    "read": "scenes read",
    "dates": "dates classified",
}


@dataclass(frozen=True)
class ComparisonLine:
    """One predicted value with its actual value."""

    what: str
    unit: str
    predicted: float
    actual: float
    goal: bool
    """Whether the accuracy goal MAX_RELATIVE_ERROR applies; the values of single steps are for information."""

    @property
    def relative_error(self) -> float | None:
        """Prediction error as a fraction of the actual value, positive if too high; None if the actual value is 0."""
        return (self.predicted - self.actual) / self.actual if self.actual else None

    @property
    def is_within_goal(self) -> bool:
        """True if the error is at most MAX_RELATIVE_ERROR."""
        return self.relative_error is not None and abs(self.relative_error) <= MAX_RELATIVE_ERROR


def compare_amounts(
    scenes: SceneCounts, by_step: dict[str, ResourceAmounts], found: Iterable[RunRecord]
) -> list[ComparisonLine]:
    """Compare total scenes, bytes and processor time, then processor time by step, for the steps that have records.

    Args:
        scenes: Predicted scene counts.
        by_step: Predicted resource amounts by step.
        found: Run records of the run.
    """
    real_scenes, actual = SceneCounts(), dict[str, ResourceAmounts]()
    for one in found:  # a single pass: a continent has 100,000 records
        real_scenes += run_history.count_scenes(one)
        actual[one.step] = actual.get(one.step, ResourceAmounts()) + _get_amounts(one)
    actual = {step: actual[step] for step in STEP_EFFORT if step in actual}
    real = real_scenes.to_json()
    lines = [
        ComparisonLine(words, "", value, real[name], goal=name in {"candidates", "used", "read"})
        for name, words in SCENE_LABELS.items()
        if (value := scenes.to_json()[name]) or real[name]
    ]
    # These steps read files in `out`. On a local disk, the count includes reads of libraries, which are not billed.
    later = tuple(step for step in actual if not StepName(step).reads_scenes)
    for name, words, unit, steps in (
        ("cpu_s", "processor time", "s", tuple(actual)),
        ("read_bytes", "bytes read of scenes", "B", tuple(step for step in actual if StepName(step).reads_scenes)),
        ("read_bytes", "bytes read of the run's own files", "B", later),
        ("written_bytes", "bytes written", "B", tuple(actual)),
    ):
        predicted = sum(getattr(by_step.get(step, ResourceAmounts()), name) for step in steps)
        total = sum(getattr(actual[step], name) for step in steps)
        is_goal = not (name == "read_bytes" and steps == later)
        lines.append(ComparisonLine(words, unit, predicted, total, is_goal))
    lines += [
        ComparisonLine(
            f"processor time of {step}", "s", by_step.get(step, ResourceAmounts()).cpu_s, one.cpu_s, goal=False
        )
        for step, one in actual.items()
    ]
    return lines


def _get_amounts(one: RunRecord) -> ResourceAmounts:
    get, put = one.requests.get("get", 0), one.requests.get("put", 0)
    return ResourceAmounts(
        cpu_s=one.lasting_cpu_s, read_bytes=one.read_bytes, written_bytes=one.written_bytes, get=get, put=put
    )


def compare_stored_plan(store: Store, tiles: Iterable[str]) -> list[ComparisonLine]:
    """Compare the stored plan of a run with its run records.

    Raises:
        MissingInput: If the plan or the records are missing.
        InputError: If the plan is invalid.
    """
    data = store.get(layout.FORECAST) if run_history.has_output(store.uri) else None
    if data is None:
        raise MissingInput(
            f"{store.uri} has no {layout.FORECAST}, which a run's plan step writes: run it, or give --rates."
        )
    stored = plan_file.parse_plan(data, layout.FORECAST)
    return compare_with_records(store, tiles, stored.get_scene_counts(), stored.get_amounts_by_step())


def compare_with_records(
    store: Store, tiles: Iterable[str], scenes: SceneCounts, by_step: dict[str, ResourceAmounts]
) -> list[ComparisonLine]:
    """Compare a plan with the run records of a run.

    Args:
        store: Store of the run.
        tiles: Names of the run's tiles.
        scenes: Predicted scene counts.
        by_step: Predicted resource amounts by step.

    Raises:
        MissingInput: If the run has no records.
    """
    lines = compare_amounts(
        scenes, by_step, run_history.read_run_records(store, tiles) if run_history.has_output(store.uri) else ()
    )
    if not any(one.actual for one in lines):
        raise MissingInput(f"{store.uri} has no run records (run/STEP/T.json) of this version: run it first.")
    return lines


def to_json(lines: Iterable[ComparisonLine]) -> list[dict[str, object]]:
    """Convert the lines to JSON for `--json`."""
    return [{**vars(one), "off": _round_error(one.relative_error)} for one in lines]


def _round_error(error: float | None) -> float | None:
    return None if error is None else round(error, 4)
