"""Seams between tiles two months apart, one of them 15 % too bright, meet the requirements (simulated world)."""

from datetime import date

import pytest

from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.pipeline.steps import acquire, composite, plan, select
from s2ops.run.context import RunContext
from s2ops.run.load_config import load_config
from tests.helpers.chain import make_world, write_config
from tests.helpers.seam_requirements import assert_meets_seam_requirements, balance_and_blend, brighten

TILES = ("33TWL", "33TWM")
"""Two tiles whose overlap is land."""


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> RunContext:
    """Composites of two tiles over the same land, one from June and one from August."""
    root = tmp_path_factory.mktemp("apart")
    dates = [date(2023, month, day) for month in (6, 8) for day in (2, 12, 22)]
    catalog = make_world(root / "world", TILES, dates)
    for name, month in zip(TILES, ("06", "08"), strict=True):
        text = write_config(root / f"{name}.yaml", catalog, root / "out", [name])
        text.write_text(text.read_text().replace("06-01, end: 2023-07-31", f"{month}-01, end: 2023-{month}-30"))
        one = parse_tile(name)
        ctx = RunContext(load_config(text), (one,))
        plan.STEP.bind(ctx).run()
        for step in (select, acquire, composite):
            step.STEP.bind(ctx, one).run()
    settings = load_config(write_config(root / "both.yaml", catalog, root / "out", TILES))
    return RunContext(settings, tuple(parse_tile(name) for name in TILES))


@pytest.mark.parametrize("gain", [1.0, 1.15])
def test_seams_of_tiles_two_months_apart_meet_the_requirements(apart: RunContext, gain: float) -> None:
    if gain != 1:
        brighten(apart, TILES[0], gain)
    balance_and_blend(apart)
    assert_meets_seam_requirements(apart)
