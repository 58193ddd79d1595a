"""The order of test files, and the worlds that several of them look at."""

import fcntl
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from tests.helpers.chain import DATES, TILE_ROW, NEIGHBOUR_TILES, make_world

LONG = (
    "cost/test_plan_docs.py",
    "pipeline/test_local_engine.py",
    "selection/test_refresh.py",
    "telemetry/test_prometheus.py",
    "inference/test_triton_chain.py",
    "project/test_docs.py",
    "cli/test_bad_input.py",
    "inference/test_triton.py",
    "pipeline/test_real_scenes.py",
    "pipeline/test_tile_groups.py",
    "cost/test_plan.py",
    "view/test_browser.py",
    "project/test_benchmarks.py",
    "quality/test_seam_requirements.py",
)
"""From half a minute on (`--durations=0`), the longest first, so that no processor waits for the other at the end; with
`--no-loadscope-reorder` xdist keeps the order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable, so that tests of a file stay together and in their order."""

    def rank(item: pytest.Item) -> int:
        name = item.path.relative_to(Path(__file__).parent).as_posix()
        return LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=rank)


@pytest.fixture(scope="session")
def two_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of a world of two tiles and two dates. Nothing writes to it: a test that breaks scenes has a copy."""
    return _shared("two-tiles", tmp_path_factory, NEIGHBOUR_TILES, DATES[:2])


@pytest.fixture(scope="session")
def three_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of three tiles in a row: the second overlaps both others, which do not overlap."""
    return _shared("three-tiles", tmp_path_factory, TILE_ROW, DATES[::2])


def _shared(name: str, folders: pytest.TempPathFactory, tiles: Sequence[str], dates: Sequence[date]) -> Path:
    """Made by the first process of the session that asks (pytest-xdist has several, whose folders lie side by side)."""
    base = folders.getbasetemp()
    root = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        catalog = root / name / "catalog.json"
        return catalog if catalog.exists() else make_world(root / name, tiles, dates)
