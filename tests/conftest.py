"""Order of test files, and simulated worlds that several of them share."""

import fcntl
import os
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from tests.helpers.chain import DATES, NEIGHBOUR_TILES, TILE_ROW, make_world

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
"""Files that take half a minute or more (`--durations=0`), the longest first, so that no processor is idle at the end;
with `--no-loadscope-reorder` xdist keeps the order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the test files; the sort is stable, so that tests of a file stay together and in their order."""

    def get_rank(item: pytest.Item) -> int:
        name = item.path.relative_to(Path(__file__).parent).as_posix()
        return LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=get_rank)


@pytest.fixture(scope="session")
def two_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Catalog of a world of two tiles and two dates. No test writes to it; tests that break scenes use a copy."""
    return _share_world("two-tiles", tmp_path_factory, NEIGHBOUR_TILES, DATES[:2])


@pytest.fixture(scope="session")
def three_tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Catalog of a world of three tiles in a row: the second overlaps both others, which do not overlap."""
    return _share_world("three-tiles", tmp_path_factory, TILE_ROW, DATES[::2])


def _share_world(name: str, folders: pytest.TempPathFactory, tiles: Sequence[str], dates: Sequence[date]) -> Path:
    """Simulate a world once per session: several processes of pytest-xdist have sibling folders and use one lock."""
    base = folders.getbasetemp()
    root = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        catalog = root / name / "catalog.json"
        return catalog if catalog.exists() else make_world(root / name, tiles, dates)
