"""Concurrent runs with faults: three runs at the same time, each with its own fault, and two that follow one of them.

The tests check their results.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from s2ops.storage.object_store import Store

from .kills import StepKiller, combine_callbacks, list_moments
from .runs import Run, submit_with_argo, submit_with_s2ops
from .small_region import SmallRegion


@dataclass(frozen=True, slots=True)
class EndedRun:
    """Disturbed run that has ended, and the URI of its outputs."""

    run: Run
    out: str
    phase: str
    killer: StepKiller | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """Tiles that were missing in the published catalog, with the reason."""
    story: str = ""
    """Description of a failed run by Argo, kept here because a drained node loses its logs."""

    @classmethod
    def from_run(cls, run: Run, out: str, killer: StepKiller | None = None) -> EndedRun:
        """Wait until a run has ended and read its results; `out` is empty if its configuration names none."""
        phase = run.wait()
        published = json.loads(Store(out).get("catalog.json") or b"{}") if out else {}
        story = "" if phase == "Succeeded" else run.describe()
        return cls(run, out, phase, killer, published.get("s2ops:missing", {}), story)


def run_concurrently(
    single_tile: SmallRegion, tile_pair: SmallRegion, corrupt_world: str | None, folder: Path
) -> dict[str, EndedRun]:
    """Run the disturbed runs; return them by name.

    - `killed` is killed once at each step.
    - `early` has no retries, so it ends early; `again` is the same run once more.
    - `idle` is submitted by `s2ops submit` after `again`, so it finds nothing to do.
    - `spoilt` has a tile with unreadable scenes; it is left out if there is no such world.
    - `wrong` has an invalid setting.
    """
    early, early_out = tile_pair.submit("early", retries="0")  # submitted first because two runs follow it
    spoilt = tile_pair.submit("spoilt", world=corrupt_world) if corrupt_world else None
    wrong = submit_with_argo(single_tile.kubectl, "region: {tiles: [32TPS]}\ncolour: red\n")
    killed, killed_out = single_tile.submit("killed")  # submitted last because its first pod must be caught
    at_every_step = StepKiller(single_tile.kubectl, killed.name, list_moments())
    at_landcover = StepKiller(single_tile.kubectl, early.name, {"landcover": list_moments()["landcover"]})
    early.wait(limit_s=900, on_tick=combine_callbacks(at_every_step, at_landcover))
    ended = {"early": EndedRun.from_run(early, early_out, at_landcover)}
    ended["wrong"] = EndedRun.from_run(wrong, "")
    again, _ = tile_pair.submit("early")
    again.wait(limit_s=900, on_tick=at_every_step)
    ended["again"] = EndedRun.from_run(again, early_out)
    idle = submit_with_s2ops(tile_pair.kubectl, tile_pair.render_config(early_out), folder)
    killed.wait(limit_s=900, on_tick=at_every_step)
    ended["killed"] = EndedRun.from_run(killed, killed_out, at_every_step)
    ended["idle"] = EndedRun.from_run(idle, early_out)
    if spoilt:
        ended["spoilt"] = EndedRun.from_run(*spoilt)
    return ended
