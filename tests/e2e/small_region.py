"""Small region (a few tiles) of the simulated world, and its reference run on this machine."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from s2ops.storage.object_store import Store

from .deployment import list_triton_pods, open_pod_port
from .kubectl import Kubectl
from .regions import ObjectStore, compute_hashes, list_keys, render_config, run_s2ops
from .runs import Run, submit_with_argo

SCENES = ("select", "scenes", "composite")
"""Folders of the outputs of the first stage, which depend on their own tile only."""


def copy_scenes(source: str, target: str, tiles: tuple[str, ...]) -> None:
    """Copy the outputs of the first stage of some tiles from one run to another, which continues from there."""
    run, other = Store(target), Store(source)
    for key in list_keys(source):
        folder, tile = (*key.split("/"), "")[:2]
        if folder in SCENES and tile.split(".")[0] in tiles:
            run.put(key, other.get(key) or b"")


def run_locally(kubectl: Kubectl, config: str, out: str, folder: Path) -> dict[str, str]:
    """Run a configuration by `s2ops run` on this machine with the release's Triton; return its outputs' hashes."""
    path = folder / "config.yaml"
    path.write_text(config)
    with open_pod_port(kubectl, list_triton_pods(kubectl)[0], 8001) as address:
        run_s2ops("run", str(path), "--out", out, "--segmenter", f"triton://{address}")
    return compute_hashes(out)


@dataclass(frozen=True, slots=True)
class SmallRegion:
    """A few tiles of the simulated world, and the outputs that every run of them must have."""

    kubectl: Kubectl
    world: str
    object_store: ObjectStore
    tiles: tuple[str, ...]
    local_hashes: Future[dict[str, str]]

    @property
    def expected(self) -> dict[str, str]:
        """Hashes of the outputs that every run must have; waits for the run on this machine."""
        return self.local_hashes.result()

    def render_config(self, out: str, world: str = "") -> str:
        """Return the text of the run's YAML file."""
        return render_config(self.tiles, f"{world or self.world}/catalog.json", out)

    def submit(self, name: str, world: str = "", **parameters: str) -> tuple[Run, str]:
        """Submit a run with its own output URI and one pod per tile and stage; return the run and its URI."""
        out = self.object_store.get_run_uri(name)
        return submit_with_argo(self.kubectl, self.render_config(out, world), size="1", **parameters), out
