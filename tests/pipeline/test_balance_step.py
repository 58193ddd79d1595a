"""Steps balance and blend on a small region: which overlaps are measured and which tiles are blended again."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from s2ops.constants import BANDS, UInt8
from s2ops.errors import MissingInput
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.pipeline.steps import balance, blend
from s2ops.publishing import stac_item
from s2ops.raster.cog import CODES, IMAGERY
from s2ops.results import StepResult
from s2ops.run.context import RunContext
from s2ops.run.load_config import load_config
from s2ops.run.raster_writer import build_imagery_tags, open_raster_writer
from s2ops.storage import layout
from s2ops.storage.done_marker import read_json, to_json
from tests.helpers.chain import NEIGHBOUR_TILES, write_config

THREE = (*NEIGHBOUR_TILES, "33TVM")


def make_ground(name: str) -> UInt8:
    """Make (4, y, x) levels that depend on the position only, so that overlapping tiles show the same."""
    grid = parse_tile(name).build_geobox(120)
    x, y = (np.arange(side) for side in (grid.width, grid.height))
    east = (grid.transform.c + 120 * x) / 120 + (0 if grid.crs.epsg == 32633 else 5_000)
    north = (grid.transform.f - 120 * y) / 120
    waves = np.sin(east / 9) * np.cos(north / 7)[:, None] + np.sin(east / 61 + north[:, None] / 83)
    return np.rint(np.stack([95 + band + 9 * waves for band in range(4)])).astype(np.uint8)


def make_composite(ctx: RunContext, name: str, brighter: int) -> None:
    """Write a tile's composite and item like the step composite."""
    one = parse_tile(name)
    with open_raster_writer(ctx.store, ctx.build_geobox(one)) as made:
        image = made.create_file("composite", BANDS, IMAGERY, build_imagery_tags())
        image.write(make_ground(name) + np.uint8(brighter))
        source = made.create_file("provenance", ["scene"], CODES)
        source.write(np.ones((1, *ctx.build_geobox(one).shape), np.uint8))
        files = {"composite": image, "provenance": source}
        sums = made.put({layout.TileKeys(name).get_raster("composite", kind): file for kind, file in files.items()}, 1)
    assets = {
        "composite": stac_item.build_imagery_asset("composite.tif", sums[0]),
        "provenance": stac_item.build_provenance_asset("provenance.tif", sums[1], ["S2A"]),
    }
    facts = {"s2ops:fingerprint": sums[0], "s2ops:scenes": [{"id": "S2A", "date": "2023-06-02", "tile": name}]}
    day = datetime(2023, 6, 2, tzinfo=UTC)
    item = stac_item.build_tile_item("composite", name, ctx.build_geobox(one), (day, day), assets, facts)
    ctx.store.put(layout.TileKeys(name).get_item("composite"), to_json(item))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiles in two zones, balanced and blended."""
    folder = tmp_path_factory.mktemp("balance")
    write_config(folder / "run.yaml", "none", folder / "out", THREE)
    ctx = make_context(folder)
    for number, name in enumerate(THREE):
        make_composite(ctx, name, 3 * number)
    run_balance(ctx)
    for name in THREE:
        run_blend(ctx, name)
    return folder


def make_context(folder: Path, *, freeze: bool = False, tiles: tuple[str, ...] = THREE) -> RunContext:
    settings = load_config(folder / "run.yaml", freeze="true" if freeze else None)
    return RunContext(settings, tuple(parse_tile(name) for name in sorted(tiles)))


def run_balance(ctx: RunContext) -> None:
    """Run balance on the region."""
    balance.STEP.bind(ctx).run()


def run_blend(ctx: RunContext, name: str) -> StepResult:
    """Run blend on a tile."""
    return blend.STEP.bind(ctx, parse_tile(name)).run()


def read_corrections(ctx: RunContext) -> dict[str, object]:
    record = read_json(ctx.store, layout.BALANCE)
    assert record is not None
    return {name: {**one, "composite": None} for name, one in record["corrections"].items()}


def change_composite(ctx: RunContext, name: str, fingerprint: str) -> None:
    """Change the fingerprint of a composite, as after a change of its pixels."""
    key = layout.TileKeys(name).get_item("composite")
    item = read_json(ctx.store, key)
    assert item is not None
    item["properties"]["s2ops:fingerprint"] = fingerprint
    ctx.store.put(key, to_json(item))


def read_mosaic_checksum(ctx: RunContext, name: str) -> str:
    """Read the SHA-256 of a mosaic."""
    item = read_json(ctx.store, layout.TileKeys(name).get_item("mosaic"))
    assert item is not None
    sha: str = item["assets"]["mosaic"]["file:checksum"]
    return sha


def test_blend_records_the_correction_and_the_gradient_energy(made: Path) -> None:
    ctx = make_context(made)
    for name in THREE:
        item = read_json(ctx.store, layout.TileKeys(name).get_item("mosaic"))
        assert item is not None
        facts = item["properties"]
        assert facts["s2ops:correction"] == {k: v for k, v in read_corrections(ctx)[name].items() if k != "composite"}  # type: ignore[attr-defined]
        assert len(facts["s2ops:gains"]) == 4
        assert 0.9 < facts["s2ops:energy_kept"] < 1.05


def test_balance_does_not_measure_a_known_overlap_again(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, read = make_context(made), []
    measured = ctx.store.get(layout.OVERLAPS)
    read_levels = balance._read_levels
    monkeypatch.setattr(balance, "_read_levels", lambda ctx, one: read.append(one.name) or read_levels(ctx, one))
    run_balance(ctx)
    assert read == []
    assert ctx.store.get(layout.OVERLAPS) == measured
    change_composite(ctx, "33TVM", "0" * 64)
    run_balance(ctx)
    assert "33TVM" in read


def test_blend_is_repeated_only_when_the_tile_or_a_neighbour_has_changed(made: Path) -> None:
    ctx = make_context(made)
    run_balance(ctx)
    marks = {name: blend.STEP.bind(ctx, parse_tile(name)).marker.fingerprint for name in THREE}
    far = next(
        name for name in THREE if "33TVM" not in {one.name for one in ctx.find_neighbours(parse_tile(name))} | {name}
    )
    change_composite(ctx, "33TVM", "1" * 64)
    run_balance(ctx)
    changed = {name for name in THREE if blend.STEP.bind(ctx, parse_tile(name)).marker.fingerprint != marks[name]}
    assert "33TVM" in changed
    assert far not in changed


def test_balance_keeps_frozen_corrections_when_a_composite_changes(made: Path) -> None:
    ctx = make_context(made, freeze=True)
    record = read_json(ctx.store, layout.BALANCE)
    assert record is not None
    record["corrections"]["32TQS"]["centre"] = [7.0, 7.0, 7.0, 7.0]  # not a solution of these overlaps
    ctx.store.put(layout.BALANCE, to_json(record))
    change_composite(ctx, "33TUM", "2" * 64)
    run_balance(ctx)
    after = read_json(ctx.store, layout.BALANCE)
    assert after is not None
    assert after["frozen"] == sorted(set(THREE) - {"33TUM"})
    assert after["corrections"]["32TQS"]["centre"] == [7.0, 7.0, 7.0, 7.0]
    assert np.mean(after["corrections"]["33TUM"]["centre"]) > 1  # it joins its neighbour
    assert not balance.STEP.bind(make_context(made)).marker.is_current(
        ctx.store
    )  # without --freeze all corrections are solved again
    run_balance(make_context(made))
    assert np.abs(read_corrections(ctx)["32TQS"]["centre"]).max() < 5  # type: ignore[index]


def test_blend_gives_equal_bytes_after_a_missing_neighbour_returns(made: Path) -> None:
    ctx, one = make_context(made), parse_tile("32TQS")
    run_balance(ctx)
    run_blend(ctx, one.name)
    with_it = read_mosaic_checksum(ctx, one.name)
    key = layout.TileKeys("33TUM").get_item("composite")
    data = ctx.store.get(key)
    assert data is not None
    ctx.store.delete(key)
    run_balance(ctx)
    assert "33TUM" not in read_corrections(ctx)
    without = blend.STEP.bind(ctx, parse_tile("32TQS")).marker
    assert run_blend(ctx, "32TQS").facts["edges"] == 0
    assert read_mosaic_checksum(ctx, one.name) != with_it
    ctx.store.put(key, data)
    run_balance(ctx)
    assert blend.STEP.bind(ctx, parse_tile("32TQS")).marker != without
    run_blend(ctx, one.name)
    assert read_mosaic_checksum(ctx, one.name) == with_it
    with pytest.raises(MissingInput, match="run the step balance for the region first"):
        blend.STEP.bind(make_context(made, tiles=(*THREE, "33TVL")), parse_tile("33TVL"))
