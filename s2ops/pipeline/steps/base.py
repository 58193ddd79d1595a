"""Step interface of the pipeline: prepare inputs, fingerprint them, run; once per tile or once per run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from s2ops.errors import MissingInput
from s2ops.geo.mgrs_tiles import Tile
from s2ops.records import Record
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.storage.done_marker import DoneMarker

Inputs = TypeVar("Inputs")
RecordKind = TypeVar("RecordKind", bound=Record)


def read_record(ctx: RunContext, tile: Tile, step: str, key: str, kind: type[RecordKind]) -> RecordKind:
    """Read the record that `step` wrote for a tile; raise MissingInput if it has not run for the tile."""
    data = ctx.store.get(key)
    if data is None:
        raise MissingInput(f"{ctx.config.out} has no {key}; run the step {step} for {tile.name} first.")
    return kind.read(data, key)


def _accept_always(_: RunContext) -> bool:
    return True


def _check_nothing(_: RunContext) -> None:
    """Accept any run: most steps have no check of their own."""


@dataclass(frozen=True)
class PreparedStep:
    """A step with the inputs of one tile (or of the whole run): ready to be checked against its marker, and to run."""

    marker: DoneMarker
    """File that the step writes last, with the fingerprint of these inputs."""
    run: Callable[[], StepResult]


@dataclass(frozen=True)
class TileStep(Generic[Inputs]):
    """A step that runs once per tile."""

    name: StepName
    key: Callable[[str], str]
    """Key of a tile's marker, by the tile's name."""
    prepare: Callable[[RunContext, Tile], Inputs]
    """Reads the inputs of a tile; raises MissingInput if an earlier step has not run for it."""
    fingerprint: Callable[[Inputs], str]
    """SHA-256 over everything that the outputs depend on."""
    run: Callable[[RunContext, Tile, Inputs], StepResult]
    """Writes the outputs of a tile, the marker last."""
    is_wanted: Callable[[RunContext], bool] = _accept_always
    """False if the configuration leaves the step out."""
    check: Callable[[RunContext], None] = _check_nothing
    """Runs before the first tile; raises if the step as a whole cannot succeed (no scene for any tile)."""

    def bind(self, ctx: RunContext, tile: Tile) -> PreparedStep:
        """Prepare the inputs of a tile once, for the check of the marker and for the run."""
        inputs = self.prepare(ctx, tile)
        marker = DoneMarker(self.key(tile.name), self.fingerprint(inputs))
        return PreparedStep(marker, partial(self.run, ctx, tile, inputs))

    def is_done(self, ctx: RunContext, tile: Tile) -> bool:
        """Return true if the tile's marker is current; raise MissingInput if an earlier step has not run for it."""
        return self.bind(ctx, tile).marker.is_current(ctx.store)

    def load_if_current(self, ctx: RunContext, tile: Tile) -> dict[str, Any] | None:
        """Return the JSON of the tile's marker if its outputs are made from the current inputs, otherwise None."""
        try:
            return self.bind(ctx, tile).marker.load_if_current(ctx.store)
        except MissingInput:
            return None


@dataclass(frozen=True)
class WholeStep(Generic[Inputs]):
    """A step that runs once per run, over all tiles."""

    name: StepName
    key: str
    """Key of the marker."""
    prepare: Callable[[RunContext], Inputs]
    fingerprint: Callable[[Inputs], str]
    run: Callable[[RunContext, Inputs], StepResult]
    is_wanted: Callable[[RunContext], bool] = _accept_always
    check: Callable[[RunContext], None] = _check_nothing

    def bind(self, ctx: RunContext) -> PreparedStep:
        """Prepare the inputs of the run once, for the check of the marker and for the run."""
        inputs = self.prepare(ctx)
        return PreparedStep(DoneMarker(self.key, self.fingerprint(inputs)), partial(self.run, ctx, inputs))
