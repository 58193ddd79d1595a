"""What blending must show: no line at a tile's border, no blur in the overlap, no colour moved away from the edges."""

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np

from s2ops import keys
from s2ops.corrections import Correction
from s2ops.job import Job
from s2ops.marker import read_json
from s2ops.raster import read_all
from s2ops.steps import balance, blend

SCRIPT = Path(__file__).parents[1] / "scripts/seam_picture.py"
brighten: Callable[[Job, str, float], None] = runpy.run_path(str(SCRIPT))["brighten"]
"""Multiplies the reflectance of a tile's composite."""


def blended(job: Job) -> None:
    """Balance and blend the composites that lie there."""
    balance.run(job)
    for one in job.tiles:
        blend.run(job, one)


def meets_the_goals(job: Job) -> None:
    """Excess at most 1.05, 95 % of the gradient energy, mean colours of the interiors within one level."""
    corrections = (read_json(job.store, keys.BALANCE) or {})["corrections"]
    for one in job.tiles:
        facts = (read_json(job.store, keys.item("mosaic", one.name)) or {})["properties"]
        assert facts["s2ops:seams"]
        for seam in facts["s2ops:seams"]:
            assert seam["after"]["excess"] <= 1.05, (one.name, seam)
        assert facts["s2ops:energy_kept"] >= 0.95, (one.name, facts["s2ops:energy_kept"])
        before, after = (read_all(job.store.gdal(keys.data(step, one.name, step))) for step in ("composite", "mosaic"))
        wide = job.geobox(one).width
        inside = slice(wide // 4, 3 * wide // 4)
        across = np.linspace(-1, 1, wide)
        plane = Correction.read(corrections[one.name]).plane(across, across)
        added = plane.rows[:, inside, None] + plane.cols[:, None, inside]
        alone = (before[:, inside, inside] > 0).all(axis=0)
        moved = after[:, inside, inside].astype(np.float64) - before[:, inside, inside] - added
        assert np.abs(moved[:, alone].mean(axis=1)).max() <= 1, one.name
