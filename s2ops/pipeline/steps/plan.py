"""Plan: the tiles of the region and their neighbours, once configuration and catalog are known to be of use."""

from s2ops.cost.plan import leave_forecast
from s2ops.pipeline.steps.base import WholeStep
from s2ops.results import StepResult
from s2ops.run.context import Job
from s2ops.storage import layout
from s2ops.storage.done_marker import Marker, fingerprint, to_json

VERSION = 2


def _facts(job: Job) -> dict[str, object]:
    return {
        "config": job.config.model_dump(mode="json", exclude={"out", "region", "segmenter"}),
        "tiles": {tile.name: [other.name for other in job.neighbours(tile)] for tile in job.tiles},
    }


def marker(job: Job) -> Marker:
    """The plan stands when configuration and tiles are the same."""
    return Marker(layout.PLAN, fingerprint("plan", VERSION, _facts(job)))


def run(job: Job) -> StepResult:
    """Write run/forecast.json, to be compared with what the run takes, then plan/plan.json."""
    mark = marker(job)
    leave_forecast(job)
    job.store.put(mark.key, to_json({**_facts(job), "fingerprint": mark.fingerprint}))
    return StepResult("plan", "all", "done", {"tiles": len(job.tiles)})


def _catalog_answers(job: Job) -> None:
    """A catalog that cannot be searched ends the run here, not in every pod."""
    job.scenes(job.tiles[0])


STEP = WholeStep("plan", marker, run, check=_catalog_answers)
