"""Groups of tiles: what one pod of a cluster works on, and the child workflows that the groups make up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from s2ops.errors import ConfigError, InputError
from s2ops.pipeline.step_runner import CLUSTER_STAGES, list_pending
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json, to_json

MAX_CHILD_TILES: Final = 500
"""Tiles of a child workflow, so that its object stays below what a cluster can store."""


@dataclass(frozen=True)
class ChildWorkflow:
    """A child workflow: its first and last group."""

    first: int
    last: int

    def to_json(self) -> dict[str, str]:
        """As the parent workflow passes it on."""
        return {"first": str(self.first), "last": str(self.last)}


def list_tiles_with_work(ctx: RunContext, stage: str) -> list[str]:
    """Names of the stage's tiles that have work; none where the run does not want the stage."""
    steps = CLUSTER_STAGES[stage]
    if not steps[0].is_wanted(ctx):
        return []
    steps[0].check(ctx)
    return list_pending(steps, ctx)


def write_groups(ctx: RunContext, stage: str, names: Sequence[str], size: int, child: int) -> list[ChildWorkflow]:
    """Write those tiles to plan/groups/STAGE/NNN.json, `size` a file; gives the children of at most `child` tiles."""
    if not 1 <= size <= child <= MAX_CHILD_TILES:
        raise ConfigError(
            f"{size} tiles a group and {child} a child workflow do not fit: 1 <= size <= child <= {MAX_CHILD_TILES}"
        )
    groups = [names[first : first + size] for first in range(0, len(names), size)]
    for number, group in enumerate(groups):
        ctx.store.put(layout.get_group_key(stage, number), to_json({"tiles": list(group), "wanted": len(names)}))
    return split_into_children(len(groups), size, child)


def split_into_children(groups: int, size: int, child: int) -> list[ChildWorkflow]:
    """The child workflows of so many groups of `size` tiles, each of at most `child` tiles."""
    each = child // size
    return [ChildWorkflow(first, min(first + each, groups) - 1) for first in range(0, groups, each)]


@dataclass(frozen=True)
class TileGroup:
    """What a pod works on."""

    tiles: list[str]
    """Names."""
    wanted: int
    """Tiles of the whole stage, so that its pods together can say how far it is."""


def read_group(ctx: RunContext, stage: str, number: int) -> TileGroup:
    """A group; InputError where its file is missing or names tiles that the run does not have."""
    record = read_json(ctx.store, layout.get_group_key(stage, number)) or {}
    found = record.get("tiles")
    if not isinstance(found, list):
        raise InputError(
            f"{ctx.config.out} has no {layout.get_group_key(stage, number)}: run s2ops group {stage} first"
        )
    if foreign := sorted(set(map(str, found)) - {tile.name for tile in ctx.tiles}):
        raise InputError(
            f"{layout.get_group_key(stage, number)} names {', '.join(foreign)}, which the run's region does not have: "
            f"run s2ops group {stage} again"
        )
    return TileGroup([str(name) for name in found], int(record.get("wanted", len(found))))
