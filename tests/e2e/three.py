"""Three runs that go on at once, each with a fault that touches no other, and two that follow one of them.

The tests look at what came of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from s2ops.storage.object_store import Store

from .few import Few
from .kills import Killer, both, every_step
from .runs import Run, submit, submit_by_s2ops


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that was disturbed and has ended, and where its outputs are."""

    run: Run
    out: str
    phase: str
    killer: Killer | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """The tiles that the catalog lacked then, and why."""
    story: str = ""
    """What Argo says of a run that failed; a drained node forgets the logs."""

    @classmethod
    def now(cls, run: Run, out: str, killer: Killer | None = None) -> Ended:
        """As it is once it has ended, which is waited for; `out` is empty where its configuration names none."""
        phase = run.wait()
        published = json.loads(Store(out).get("catalog.json") or b"{}") if out else {}
        story = "" if phase == "Succeeded" else run.story()
        return cls(run, out, phase, killer, published.get("s2ops:missing", {}), story)


def three(single: Few, pair: Few, spoilt_world: str | None, folder: Path) -> dict[str, Ended]:
    """`killed` at each step; `early`, which may not try again; `spoilt`, with a tile of bad scenes; `wrong`, a setting.

    After `early` comes `again`, the same once more, and after that `idle`, by `s2ops submit`, to which nothing is left.
    Without a spoilt world there is no `spoilt`.
    """
    early, early_out = pair.submit("early", retries="0")  # the first, as two follow it
    spoilt = pair.submit("spoilt", world=spoilt_world) if spoilt_world else None
    wrong = submit(single.kubectl, "region: {tiles: [32TPS]}\ncolour: red\n")
    killed, killed_out = single.submit("killed")  # the last, as its first pod is to be caught
    at_every_step = Killer(single.kubectl, killed.name, every_step())
    at_landcover = Killer(single.kubectl, early.name, {"landcover": every_step()["landcover"]})
    early.wait(limit_s=900, on_tick=both(at_every_step, at_landcover))
    ended = {"early": Ended.now(early, early_out, at_landcover)}
    ended["wrong"] = Ended.now(wrong, "")
    again, _ = pair.submit("early")
    again.wait(limit_s=900, on_tick=at_every_step)
    ended["again"] = Ended.now(again, early_out)
    idle = submit_by_s2ops(pair.kubectl, pair.configuration(early_out), folder)
    killed.wait(limit_s=900, on_tick=at_every_step)
    ended["killed"] = Ended.now(killed, killed_out, at_every_step)
    ended["idle"] = Ended.now(idle, early_out)
    if spoilt:
        ended["spoilt"] = Ended.now(*spoilt)
    return ended
