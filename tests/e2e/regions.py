"""Inputs and outputs of the tests' runs: simulated worlds, run configurations, and hashes in the object store."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from s2ops.storage.object_store import Store

UNCOMPARED_FOLDERS = {"run", "report", "plan"}
"""Folders of a run that contain times, or the place where it ran."""


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """Object store for results that pods and this machine can reach."""

    uri: str
    environment: Mapping[str, str]

    def get_run_uri(self, name: str) -> str:
        """Return the URI of the outputs of a run."""
        return f"{self.uri}/{name}"


def list_keys(out: str) -> list[str]:
    """List all keys of a run."""
    return Store(out).list_keys()


def compute_hashes(out: str) -> dict[str, str]:
    """Compute the SHA-256 of every output of a run that does not depend on time or place."""
    store = Store(out)
    return {
        key: hashlib.sha256(store.get(key) or b"").hexdigest()
        for key in list_keys(out)
        if key.split("/")[0] not in UNCOMPARED_FOLDERS
    }


def run_s2ops(*words: str, limit_s: float = 900, **environment: str) -> str:
    """Run the command s2ops on this machine; return its output.

    Raises:
        RuntimeError: If it failed; the message contains its output.
    """
    command = [sys.executable, "-c", "from s2ops.cli import main; main()", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=limit_s, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise RuntimeError(
            f"s2ops {' '.join(words)} failed with exit code {done.returncode}: {done.stderr}{done.stdout}"
        )
    return done.stdout


def simulate_world(folder: Path, tiles: tuple[str, ...], dates: int = 2, seed: int = 5) -> Path:
    """Simulate a world at 120 m; return its folder."""
    named = [word for name in tiles for word in ("--tile", name)]
    run_s2ops("simulate", str(folder), *named, "--dates", str(dates), "--resolution", "120", "--seed", str(seed))
    return folder


def render_config(tiles: tuple[str, ...], catalog: str, out: str, extra: str = "") -> str:
    """Return the text of a run's YAML file."""
    return (
        f"region: {{tiles: [{', '.join(tiles)}]}}\n"
        "dates: {start: 2023-06-01, end: 2023-08-31}\n"
        f"catalog: {catalog}\nmax_cloud: 95\nresolution: 120\nout: {out}\n{extra}"
    )
