"""Composite: fuse the acquired scenes of a tile, recent first, patches cross-faded (paper, section 2.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from rasterio.enums import Resampling

from s2ops import keys, stac
from s2ops.codes import BANDS, Bool, Mask, UInt8
from s2ops.cog import CODES, IMAGERY
from s2ops.composite import ClearScene, FadedFirst, Fused, fade_ramp_within
from s2ops.distance import CELL_M, Lerp, halo
from s2ops.gains import Gains, Pair, gain_tables, pair_ratio, solve_gains
from s2ops.grid import Tile
from s2ops.job import Job, StepResult
from s2ops.local import ShiftField, local_shifts
from s2ops.marker import Marker, fingerprint, to_json
from s2ops.opened import Opened, opened
from s2ops.outputs import dates_of, imagery_tags, publisher
from s2ops.parallel import in_order
from s2ops.raster import read_decimated, slabs
from s2ops.records import AcquiredScene, AcquireRecord
from s2ops.steps.acquire import acquired
from s2ops.steps.base import TileStep

VERSION = 3

_MATCH_SIDE = 1098
"""Side of the decimated rasters that scenes are compared on: a tenth of a full tile's."""


def marker(job: Job, tile: Tile) -> Marker:
    """Stands while the acquired scenes and the options of the composite are the same."""
    scenes = [(scene.id, scene.image_sha256, scene.mask_sha256) for scene in acquired(job, tile).scenes]
    facts = fingerprint("composite", VERSION, job.config.composite, job.res, scenes)
    return Marker(keys.item("composite", tile.name), facts)


def run(job: Job, tile: Tile) -> StepResult:
    """Write composite.tif and provenance.tif, then item.json."""
    record, mark, geobox = acquired(job, tile), marker(job, tile), job.geobox(tile)
    gains, shifts = _matched(job, tile, record) if job.config.composite.match else ({}, {})
    holes = 0
    with publisher(job.store, geobox) as made:
        image = made.file("composite", BANDS, IMAGERY, imagery_tags())
        provenance = made.file("provenance", ["scene"], CODES)
        fusion = _Fusion(job, tile, record.scenes, gains, shifts)
        for fused in in_order(fusion.slab, slabs(geobox.height), job.threads):
            image.write(fused.levels)
            provenance.write(fused.source[None])
            holes += fused.holes
        assets = {
            "composite": stac.imagery_asset(
                "composite.tif", made.put(keys.data("composite", tile.name, "composite"), image)
            ),
            "provenance": stac.provenance_asset(
                "provenance.tif",
                made.put(keys.data("composite", tile.name, "provenance"), provenance),
                [scene.id for scene in record.scenes],
            ),
        }
    part = round(holes / (geobox.height * geobox.width), 6)
    properties = {
        "s2ops:fingerprint": mark.fingerprint,
        "s2ops:scenes": [{"id": scene.id, "date": scene.date, "tile": tile.name} for scene in record.scenes],
        "s2ops:gains": {scene: list(values) for scene, values in gains.items()},
        "s2ops:holes": part,
    }
    dates = dates_of(record.scenes, job.config)
    job.store.put(mark.key, to_json(stac.tile_item("composite", tile.name, geobox, dates, assets, properties)))
    return StepResult(
        "composite", tile.name, "done" if record.scenes else "empty", {"scenes": len(record.scenes), "holes": part}
    )


def _matched(job: Job, tile: Tile, record: AcquireRecord) -> tuple[dict[str, Gains], dict[str, ShiftField]]:
    """What makes common clear ground look the same in all scenes: gains, anchored by clear area, and local shifts."""
    side = min(_MATCH_SIDE, *job.geobox(tile).shape)
    names = [scene.id for scene in record.scenes]

    def read(name: str) -> tuple[UInt8, Bool]:
        image = read_decimated(job.store.gdal(keys.image(tile.name, name)), (side, side))
        mask = read_decimated(job.store.gdal(keys.mask(tile.name, name)), (side, side), Resampling.nearest)
        return image, mask[0] == Mask.CLEAR

    seen = dict(zip(names, in_order(read, names, job.threads), strict=True))
    pairs = []
    for a, b in combinations(sorted(seen), 2):
        ratio = pair_ratio(seen[a][0], seen[b][0], seen[a][1] & seen[b][1])
        if ratio is not None:
            pairs.append(Pair(a, b, ratio))
    gains = solve_gains({scene.id: scene.clear for scene in record.scenes}, pairs)
    coarse = [ClearScene(*seen[name], gain_tables(gains[name])) for name in names]
    cell = round(CELL_M / (job.res * job.geobox(tile).width / side))  # 6 pixels; 5 at 120 m
    return gains, dict(zip(names, local_shifts(coarse, cell), strict=True))


@dataclass(frozen=True)
class _Fusion:
    """What every slab of the composite is made from."""

    job: Job
    tile: Tile
    scenes: tuple[AcquiredScene, ...]
    gains: Mapping[str, Gains]
    shifts: Mapping[str, ShiftField]

    def slab(self, rows: slice) -> Fused:
        """Rows of the composite, block by block: state fits the processor's cache, and scenes are read where wanted."""
        width = self.job.geobox(self.tile).width
        shape = (rows.stop - rows.start, width)
        out = Fused(np.zeros((len(BANDS), *shape), np.uint8), np.zeros(shape, np.uint8))
        with opened() as files:
            shifts = [self._shift(scene, rows) for scene in self.scenes]
            clear: dict[str, Bool] = {}
            for cols in slabs(width):
                part = self._block(files, clear, shifts, rows, cols)
                out.levels[:, :, cols], out.source[:, cols] = part.levels, part.source
        return out

    def _block(
        self, files: Opened, clear: dict[str, Bool], shifts: Sequence[Lerp | None], rows: slice, cols: slice
    ) -> Fused:
        job, name, fade = self.job, self.tile.name, self.job.config.composite.fade_m / self.job.res
        around = slice(max(rows.start - halo(fade), 0), min(rows.stop + halo(fade), job.geobox(self.tile).height))
        inner = slice(rows.start - around.start, rows.stop - around.start)
        rule = FadedFirst((rows.stop - rows.start, cols.stop - cols.start))
        for scene, shift in zip(self.scenes, shifts, strict=True):
            if scene.id not in clear:
                clear[scene.id] = files.read(job.store.gdal(keys.mask(name, scene.id)), around)[0] == Mask.CLEAR
            ramp = fade_ramp_within(clear[scene.id], fade, (inner, cols), rule.wanted)
            if not ramp.any():
                rule.skip()
                continue
            levels = files.read(job.store.gdal(keys.image(name, scene.id)), rows, cols)
            tables = gain_tables(self.gains[scene.id]) if scene.id in self.gains else None
            rule.feed(levels, ramp, tables, None if shift is None else shift.cut(slice(None), cols))
            if rule.is_done:
                break
        return rule.result()

    def _shift(self, scene: AcquiredScene, rows: slice) -> Lerp | None:
        """The scene's local shift over the rows; None where it has none."""
        field = self.shifts.get(scene.id)
        if field is None or not field.cells.any():
            return None
        return field.rows(rows.start, rows.stop, self.job.geobox(self.tile).width, CELL_M / self.job.res)


STEP = TileStep("composite", marker, run)
