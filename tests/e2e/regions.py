"""What the runs of these tests run on: simulated worlds and real data behind HTTP, results in the object store."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from s2ops.storage.object_store import Store

NOT_COMPARED = {"run", "report", "plan"}
"""Folders of a run that name times, or where it ran."""


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A place for results that pods and this machine both reach."""

    uri: str
    environment: Mapping[str, str]

    def out(self, name: str) -> str:
        """The URI of one run."""
        return f"{self.uri}/{name}"


def keys(out: str) -> list[str]:
    """All keys of a run."""
    return Store(out).list_keys()


def hashes(out: str) -> dict[str, str]:
    """SHA-256 of every output of a run that does not tell times or where it ran."""
    store = Store(out)
    return {
        key: hashlib.sha256(store.get(key) or b"").hexdigest()
        for key in keys(out)
        if key.split("/")[0] not in NOT_COMPARED
    }


def s2ops(*words: str, limit_s: float = 900, **environment: str) -> str:
    """The command line on this machine; gives what it printed.

    Raises:
        RuntimeError: it failed; the message holds what it said.
    """
    command = [sys.executable, "-c", "from s2ops.cli import main; main()", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=limit_s, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise RuntimeError(f"s2ops {' '.join(words)} ended with {done.returncode}: {done.stderr}{done.stdout}")
    return done.stdout


def simulate(folder: Path, tiles: tuple[str, ...], dates: int = 2, seed: int = 5) -> Path:
    """A world at 120 m; gives its folder."""
    named = [word for name in tiles for word in ("--tile", name)]
    s2ops("simulate", str(folder), *named, "--dates", str(dates), "--resolution", "120", "--seed", str(seed))
    return folder


def configuration(tiles: tuple[str, ...], catalog: str, out: str, extra: str = "") -> str:
    """The text of a run's YAML file."""
    return (
        f"region: {{tiles: [{', '.join(tiles)}]}}\n"
        "dates: {start: 2023-06-01, end: 2023-08-31}\n"
        f"catalog: {catalog}\nmax_cloud: 95\nresolution: 120\nout: {out}\n{extra}"
    )
