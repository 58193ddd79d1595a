"""Three runs that go on at once, each with a fault that touches no other; test_faults.py looks at what came of them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from s2ops.store import Store

from .few import Few
from .kills import Killer, both, every_step
from .runs import Run


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that was disturbed and has ended, and where its outputs are."""

    run: Run
    out: str
    phase: str
    killer: Killer | None = None
    missing: dict[str, str] = field(default_factory=dict)
    """The tiles that the catalog lacked then, and why."""

    @classmethod
    def now(cls, run: Run, out: str, killer: Killer | None = None) -> Ended:
        """As it is once it has ended, which is waited for."""
        phase = run.wait()
        published = json.loads(Store(out).get("catalog.json") or b"{}")
        return cls(run, out, phase, killer, published.get("s2ops:missing", {}))


def three(single: Few, pair: Few, spoilt_world: str | None) -> dict[str, Ended]:
    """`killed` at each step; `early`, which may not try again; `again` after it; `spoilt`, with a tile of bad scenes.

    Without a spoilt world there is no `spoilt`.
    """
    spoilt = pair.submit("spoilt", world=spoilt_world) if spoilt_world else None
    early, early_out = pair.submit("early", retries="0")
    killed, killed_out = single.submit("killed")  # the last, as its first pod is to be caught
    at_every_step = Killer(single.kubectl, killed.name, every_step())
    at_landcover = Killer(single.kubectl, early.name, {"landcover": every_step()["landcover"]})
    early.wait(limit_s=900, on_tick=both(at_every_step, at_landcover))
    ended = {"early": Ended.now(early, early_out, at_landcover)}
    again, _ = pair.submit("early")
    killed.wait(limit_s=900, on_tick=at_every_step)
    ended["killed"] = Ended.now(killed, killed_out, at_every_step)
    ended["again"] = Ended.now(again, early_out)
    if spoilt:
        ended["spoilt"] = Ended.now(*spoilt)
    return ended
