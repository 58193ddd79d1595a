"""Plan: the tiles of the region, their neighbours, and the groups that a cluster fans out by."""

from s2ops.job import Job, StepResult
from s2ops.marker import Marker, fingerprint, to_json
from s2ops.steps.base import WholeStep

VERSION = 1
GROUP = 10
"""Tiles a group file: a pod's worth of work, long enough to outweigh its start."""


def _facts(job: Job) -> dict[str, object]:
    return {
        "config": job.config.model_dump(mode="json", exclude={"out", "region"}),
        "tiles": {tile.name: [other.name for other in job.neighbours(tile)] for tile in job.tiles},
    }


def marker(job: Job) -> Marker:
    """The plan stands when configuration and tiles are the same."""
    return Marker("plan/plan.json", fingerprint("plan", VERSION, _facts(job)))


def run(job: Job) -> StepResult:
    """Write plan/groups/NNN.json, then plan/plan.json."""
    names = [tile.name for tile in job.tiles]
    groups = [names[first : first + GROUP] for first in range(0, len(names), GROUP)]
    for number, group in enumerate(groups):
        job.store.put(f"plan/groups/{number:03d}.json", to_json(group))
    mark = marker(job)
    job.store.put(mark.key, to_json({**_facts(job), "groups": len(groups), "fingerprint": mark.fingerprint}))
    return StepResult("plan", "all", "done", {"tiles": len(names), "groups": len(groups)})


STEP = WholeStep("plan", marker, run)
