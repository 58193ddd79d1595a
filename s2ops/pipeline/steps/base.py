"""What a step is: a name, the marker that says it is done, and the function that does it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from s2ops.errors import NotMade
from s2ops.geo.mgrs_tiles import Tile
from s2ops.records import Record
from s2ops.results import StepResult
from s2ops.run.context import Job
from s2ops.storage.done_marker import Marker

RecordKind = TypeVar("RecordKind", bound=Record)


def record_of(job: Job, tile: Tile, step: str, key: str, kind: type[RecordKind]) -> RecordKind:
    """The record that `step` wrote for the tile; NotMade where it has not run."""
    data = job.store.get(key)
    if data is None:
        raise NotMade(f"{job.config.out} has no {key}: run the step {step} for {tile.name} first")
    return kind.read(data, key)


def _always(_: Job) -> bool:
    return True


def _nothing(_: Job) -> None:
    """Most stages have nothing to check once all tiles are through."""


@dataclass(frozen=True)
class TileStep:
    """A step that runs once a tile."""

    name: str
    key: Callable[[str], str]
    """Key of a tile's marker, by the tile's name."""
    marker: Callable[[Job, Tile], Marker]
    run: Callable[[Job, Tile], StepResult]
    wanted: Callable[[Job], bool] = _always
    check: Callable[[Job], None] = _nothing
    """Runs before the first tile; raises when the stage as a whole makes no sense (no scene anywhere)."""

    def done(self, job: Job, tile: Tile) -> bool:
        """Whether the tile's marker stands; NotMade where an earlier step has not run for it."""
        return self.marker(job, tile).stands_in(job.store)

    def standing(self, job: Job, tile: Tile) -> dict[str, Any] | None:
        """The JSON of the tile's marker, if the tile has what the step makes, of today's inputs."""
        try:
            return self.marker(job, tile).standing(job.store)
        except NotMade:
            return None


@dataclass(frozen=True)
class WholeStep:
    """A step that runs once a run."""

    name: str
    marker: Callable[[Job], Marker]
    run: Callable[[Job], StepResult]
    wanted: Callable[[Job], bool] = _always
    check: Callable[[Job], None] = _nothing

    def done(self, job: Job) -> bool:
        """Whether the run's marker stands."""
        return self.marker(job).stands_in(job.store)
