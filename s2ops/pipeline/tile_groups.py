"""Tile groups (batches of tiles): the work of one cluster pod each, and the child workflows that hold the groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from s2ops.errors import ConfigError, InputError
from s2ops.pipeline.step_runner import CLUSTER_STAGES, list_pending
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json, to_json

MAX_CHILD_TILES: Final = 500
"""Maximum number of tiles per child workflow, so that its object stays below the size that a cluster can store."""


@dataclass(frozen=True)
class ChildWorkflow:
    """Range of groups of a child workflow: number of its first and its last group."""

    first: int
    last: int

    def to_json(self) -> dict[str, str]:
        """Convert to the parameters that the parent workflow passes on."""
        return {"first": str(self.first), "last": str(self.last)}


def list_tiles_with_work(ctx: RunContext, stage: str) -> list[str]:
    """List the names of a stage's tiles that have work; none if the run does not want the stage."""
    steps = CLUSTER_STAGES[stage]
    if not steps[0].is_wanted(ctx):
        return []
    steps[0].check(ctx)
    return list_pending(steps, ctx)


def write_groups(ctx: RunContext, stage: str, names: Sequence[str], size: int, child: int) -> list[ChildWorkflow]:
    """Write tiles in groups to plan/groups/STAGE/NNN.json.

    Args:
        ctx: Run context.
        stage: Stage of a cluster run: scenes, blend or landcover.
        names: Names of the tiles.
        size: Maximum number of tiles per group.
        child: Maximum number of tiles per child workflow.

    Returns:
        Child workflows that hold all groups.
    """
    if not 1 <= size <= child <= MAX_CHILD_TILES:
        raise ConfigError(
            f"Cannot group tiles: {size} tiles per group and {child} per child workflow; "
            f"use 1 <= size <= child <= {MAX_CHILD_TILES}."
        )
    groups = [names[first : first + size] for first in range(0, len(names), size)]
    for number, group in enumerate(groups):
        ctx.store.put(layout.get_group_key(stage, number), to_json({"tiles": list(group), "wanted": len(names)}))
    return split_into_children(len(groups), size, child)


def split_into_children(groups: int, size: int, child: int) -> list[ChildWorkflow]:
    """Split a number of groups of `size` tiles into child workflows of at most `child` tiles each."""
    groups_per_child = child // size
    return [
        ChildWorkflow(first, min(first + groups_per_child, groups) - 1) for first in range(0, groups, groups_per_child)
    ]


@dataclass(frozen=True)
class TileGroup:
    """Tiles of one pod."""

    tiles: list[str]
    """Names."""
    wanted: int
    """Number of tiles of the whole stage, so that all pods together can report its progress."""


def read_group(ctx: RunContext, stage: str, number: int) -> TileGroup:
    """Read a group; raise InputError if its file is missing, or has tiles that the run does not have."""
    key = layout.get_group_key(stage, number)
    record = read_json(ctx.store, key) or {}
    found = record.get("tiles")
    if not isinstance(found, list):
        raise InputError(f"{ctx.config.out} has no {key}; run s2ops group {stage} first.")
    if foreign := sorted(set(map(str, found)) - {tile.name for tile in ctx.tiles}):
        raise InputError(
            f"{key} does not belong to the run: its region does not have {', '.join(foreign)}; "
            f"run s2ops group {stage} again."
        )
    return TileGroup([str(name) for name in found], int(record.get("wanted", len(found))))
