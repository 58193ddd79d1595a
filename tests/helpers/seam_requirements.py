"""Requirements on blending: no line at tile borders, no blur in the overlap, no change of colour inside tiles."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np

from s2ops.mosaic.balance.correction_plane import CorrectionPlane
from s2ops.pipeline.steps import balance, blend
from s2ops.raster.reader import read_all
from s2ops.run.context import RunContext
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json

SCRIPT = Path(__file__).parents[2] / "scripts/draw_seam_picture.py"
brighten: Callable[[RunContext, str, float], None] = runpy.run_path(str(SCRIPT))["brighten"]
"""Multiplies the reflectance of a tile's composite."""


def balance_and_blend(ctx: RunContext) -> None:
    """Balance and blend the composites that lie there."""
    balance.STEP.bind(ctx).run()
    for one in ctx.tiles:
        blend.STEP.bind(ctx, one).run()


def assert_meets_seam_requirements(ctx: RunContext) -> None:
    """Assert an excess of at most 1.05, 95 % of the gradient energy, and mean colours of interiors within one level."""
    corrections = (read_json(ctx.store, layout.BALANCE) or {})["corrections"]
    for one in ctx.tiles:
        facts = (read_json(ctx.store, layout.TileKeys(one.name).get_item("mosaic")) or {})["properties"]
        assert facts["s2ops:seams"]
        for seam in facts["s2ops:seams"]:
            assert seam["after"]["excess"] <= 1.05, (one.name, seam)
        assert facts["s2ops:energy_kept"] >= 0.95, (one.name, facts["s2ops:energy_kept"])
        before, after = (
            read_all(ctx.store.get_gdal_path(layout.TileKeys(one.name).get_raster(step, step)))
            for step in ("composite", "mosaic")
        )
        wide = ctx.build_geobox(one).width
        inside = slice(wide // 4, 3 * wide // 4)
        across = np.linspace(-1, 1, wide)
        plane = CorrectionPlane.from_json(corrections[one.name]).evaluate(across, across)
        added = plane.rows[:, inside, None] + plane.cols[:, None, inside]
        alone = (before[:, inside, inside] > 0).all(axis=0)
        moved = after[:, inside, inside].astype(np.float64) - before[:, inside, inside] - added
        assert np.abs(moved[:, alone].mean(axis=1)).max() <= 1, one.name
