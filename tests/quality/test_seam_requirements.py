"""Tiles two months apart, one of them 15 % too bright: what is left of their border (simulated world)."""

from datetime import date

import pytest

from s2ops.geo.mgrs_tiles import tile
from s2ops.pipeline.steps import acquire, composite, plan, select
from s2ops.run.context import Job
from s2ops.run.load_config import load_config
from tests.helpers.chain import make_world, write_config
from tests.helpers.seam_requirements import blended, brighten, meets_the_goals

TILES = ("33TWL", "33TWM")
"""Their overlap is land."""


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Composites of two tiles over the same land, one of June and one of August."""
    root = tmp_path_factory.mktemp("apart")
    dates = [date(2023, month, day) for month in (6, 8) for day in (2, 12, 22)]
    catalog = make_world(root / "world", TILES, dates)
    for name, month in zip(TILES, ("06", "08"), strict=True):
        text = write_config(root / f"{name}.yaml", catalog, root / "out", [name])
        text.write_text(text.read_text().replace("06-01, end: 2023-07-31", f"{month}-01, end: 2023-{month}-30"))
        one = tile(name)
        job = Job(load_config(text), (one,))
        plan.run(job)
        for step in (select, acquire, composite):
            step.run(job, one)
    settings = load_config(write_config(root / "both.yaml", catalog, root / "out", TILES))
    return Job(settings, tuple(tile(name) for name in TILES))


@pytest.mark.parametrize("gain", [1.0, 1.15])
def test_tiles_two_months_apart_and_one_of_them_brighter(apart: Job, gain: float) -> None:
    if gain != 1:
        brighten(apart, TILES[0], gain)
    blended(apart)
    meets_the_goals(apart)
