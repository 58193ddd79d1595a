"""Scaling of commands with the size of a finished run: time and memory per tile for a run of the size of a continent.

    python benchmarks/bench_finished_run.py FOLDER [N ...]        (default: 1000 10000)

Makes a run of one tile, copies its records to N tiles, and runs every command that reads all tiles. The rasters of
the copies are hard links to the first tile's, so that commands can open them.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench_many_tiles import CONFIG, build_command
from process_usage import measure_command

from s2ops import config
from s2ops.constants import Json
from s2ops.geo.footprint import compute_bbox, to_geojson
from s2ops.geo.mgrs_tiles import Tile, TileIndex, list_all_tiles, parse_tile
from s2ops.pipeline.steps import blend, landcover
from s2ops.run.context import RunContext
from s2ops.storage.done_marker import to_json

SOURCE_TILE = "33TWM"
"""Tile that is simulated and run; the other tiles are copies of it."""
VERIFY_SCRIPT = """
from s2ops.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, 1), end.code
"""
"""Copies have no seam metrics for their new neighbours: verify reports that, and exits with 1 after reading all."""


def find_tiles_around_source(count: int) -> tuple[Tile, ...]:
    """Find `count` tiles around the source tile, ring by ring."""
    index, found, known = TileIndex(list_all_tiles()), [parse_tile(SOURCE_TILE)], {SOURCE_TILE}
    for tile in found:
        for other in index.find_neighbours(tile):
            if other.name not in known and len(found) < count:
                known.add(other.name)
                found.append(other)
    return tuple(sorted(found))


def run_source_tile(folder: Path) -> Path:
    """Simulate and run the source tile, unless this has been done; return the folder of the outputs."""
    world, out = folder / "world", folder / "one"
    if not (out / "catalog.json").exists():
        subprocess.run(build_command("simulate", world, "--tile", SOURCE_TILE, "--dates", 1), check=True)
        text = CONFIG.format(tiles=SOURCE_TILE, catalog=world / "catalog.json", out=out)
        (folder / "one.yaml").write_text(text)
        subprocess.run(build_command("run", folder / "one.yaml"), check=True)
    return out


def copy_to_tiles(source: Path, out: Path, tiles: tuple[Tile, ...]) -> None:
    """Copy the source tile's files to every tile: rewrite the records, link the rasters."""
    files = [path for path in source.rglob("*") if path.is_file() and SOURCE_TILE in str(path.relative_to(source))]
    texts = {path: path.read_text() for path in files if path.suffix == ".json"}
    for tile in tiles:
        for path in files:
            target = out / str(path.relative_to(source)).replace(SOURCE_TILE, tile.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != ".json":
                os.link(path, target)
                continue
            text = texts[path].replace(SOURCE_TILE, tile.name)
            if path.name == "item.json":
                target.write_bytes(to_json(move_item_to_tile(json.loads(text), tile)))
            else:
                target.write_text(text)


def move_item_to_tile(item: dict[str, object], tile: Tile) -> Json:
    """Give an item the footprint and grid of another tile."""
    item |= {"bbox": list(compute_bbox(tile.footprint)), "geometry": to_geojson(tile.footprint)}
    properties = item["properties"]
    assert isinstance(properties, dict)
    grid = tile.build_geobox(120)
    properties |= {"proj:code": f"EPSG:{tile.epsg}", "proj:transform": list(grid.transform)[:6]}
    return item


def write_current_fingerprints(ctx: RunContext) -> None:
    """Write corrections for all neighbours, and the fingerprints that blend and landcover would have written."""
    own = json.loads((Path(ctx.config.out) / f"balance/{SOURCE_TILE}.json").read_text())["corrections"][SOURCE_TILE]
    for tile in ctx.tiles:
        names = sorted({tile.name, *(other.name for other in ctx.find_neighbours(tile))})
        ctx.store.put(f"balance/{tile.name}.json", to_json({"corrections": dict.fromkeys(names, own)}))
    for step in (blend.STEP, landcover.STEP):
        for tile in ctx.tiles:
            marker = step.bind(ctx, tile).marker
            path = Path(ctx.config.out) / marker.key
            item = json.loads(path.read_text())
            item["properties"]["s2ops:fingerprint"] = marker.fingerprint
            path.write_bytes(to_json(item))


def make_finished_run(folder: Path, count: int) -> Path:
    """Make a run of `count` finished tiles that is not published yet; return the path of its configuration."""
    tiles, out = find_tiles_around_source(count), folder / f"run-{count}"
    text = CONFIG.format(tiles=", ".join(tile.name for tile in tiles), catalog=folder / "world/catalog.json", out=out)
    path = folder / f"{count}.yaml"
    path.write_text(text)
    if not (out / "plan/plan.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        copy_to_tiles(run_source_tile(folder), out, tiles)
        shutil.copytree(folder / "one/balance", out / "balance", dirs_exist_ok=True)
        write_current_fingerprints(RunContext(config.parse_config(text, "benchmark"), tiles))
        subprocess.run(build_command("step", "plan", path), check=True, stderr=subprocess.DEVNULL)
    return path


def list_commands(path: Path, out: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """Yield name and command line of every command that reads all tiles."""
    yield "plan again: nothing to do", lambda: build_command("step", "plan", path)
    yield "group landcover", lambda: build_command("group", "landcover", path, "--list", os.devnull)
    yield "publish, with the report", lambda: build_command("step", "publish", path)
    yield "publish again: nothing to do", lambda: build_command("step", "publish", path)
    yield "verify", lambda: [sys.executable, "-c", VERIFY_SCRIPT, "verify", str(out)]


def main() -> None:
    """Measure the commands; print a table."""
    folder, counts = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]] or [1000, 10000]
    folder.mkdir(parents=True, exist_ok=True)
    run_source_tile(folder)
    print("| command | tiles | wall s | CPU s | ms CPU per tile | peak MiB |\n|---|---|---|---|---|---|")
    for count in counts:
        path = make_finished_run(folder, count)
        for name, words in list_commands(path, folder / f"run-{count}"):
            usage = measure_command(words())
            if usage is None:
                print(f"| {name} | {count:,} | failed | | | |", flush=True)
                continue
            cpu_ms = 1000 * usage.cpu / count
            print(
                f"| {name} | {count:,} | {usage.wall:.1f} | {usage.cpu:.1f} | {cpu_ms:.1f} | {usage.rss:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
