"""A few tiles of the simulated world, and the run of them on this machine that all others are compared with."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from s2ops.storage.object_store import Store

from .deployment import reached, triton_pods
from .kubectl import Kubectl
from .regions import ObjectStore, configuration, hashes, keys, s2ops
from .runs import Run, submit

SCENES = ("select", "scenes", "composite")
"""Folders of what the first stage makes: of each tile alone, whatever else a run has."""


def copy_scenes(source: str, target: str, tiles: tuple[str, ...]) -> None:
    """Give a run what another has made of some tiles' scenes, so that it goes on from there."""
    run, other = Store(target), Store(source)
    for key in keys(source):
        folder, tile = (*key.split("/"), "")[:2]
        if folder in SCENES and tile.split(".")[0] in tiles:
            run.put(key, other.get(key) or b"")


def run_here(kubectl: Kubectl, config: str, out: str, folder: Path) -> dict[str, str]:
    """The same run by `s2ops run` on this machine with the release's Triton; gives the hashes of its outputs."""
    path = folder / "config.yaml"
    path.write_text(config)
    with reached(kubectl, triton_pods(kubectl)[0], 8001) as address:
        s2ops("run", str(path), "--out", out, "--segmenter", f"triton://{address}")
    return hashes(out)


@dataclass(frozen=True, slots=True)
class Few:
    """A few tiles of the simulated world, and what every run of them must end in."""

    kubectl: Kubectl
    world: str
    object_store: ObjectStore
    tiles: tuple[str, ...]
    here: Future[dict[str, str]]

    @property
    def expected(self) -> dict[str, str]:
        """Hashes of what every run ends in; waits for the run on this machine."""
        return self.here.result()

    def configuration(self, out: str, world: str = "") -> str:
        """The text of the run's YAML file."""
        return configuration(self.tiles, f"{world or self.world}/catalog.json", out)

    def submit(self, name: str, world: str = "", **parameters: str) -> tuple[Run, str]:
        """A run into a place of its own, a pod for each tile and stage; gives the run and its place."""
        out = self.object_store.out(name)
        return submit(self.kubectl, self.configuration(out, world), size="1", **parameters), out
