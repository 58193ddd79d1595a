"""Commands over a run the size of a continent: what do they cost in time and memory, and do they grow with it?

Makes a run of one tile, copies its records to N tiles (the rasters are links to the one tile's, so that they are there
to be opened, and of a size), and runs every command that looks at all tiles. Usage:

    python benchmarks/bench_finished_run.py FOLDER [N ...]        (default: 1000 10000)
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench_many_tiles import CONFIG, command
from process_usage import took

from s2ops import config
from s2ops.constants import Json
from s2ops.geo.footprint import compute_bbox, to_geojson
from s2ops.geo.mgrs_tiles import Tile, TileIndex, list_all_tiles, parse_tile
from s2ops.pipeline.steps import blend, landcover
from s2ops.run.context import RunContext
from s2ops.storage.done_marker import to_json

ONE = "33TWM"
VERIFY = """
from s2ops.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, 1), end.code
"""
"""Copies state no seams with their new neighbours: verify finds that, exits with 1, and has looked at everything."""


def block(count: int) -> tuple[Tile, ...]:
    """`count` tiles around the one, ring by ring."""
    index, found, known = TileIndex(list_all_tiles()), [parse_tile(ONE)], {ONE}
    for one in found:
        for other in index.find_neighbours(one):
            if other.name not in known and len(found) < count:
                known.add(other.name)
                found.append(other)
    return tuple(sorted(found))


def one_tile(folder: Path) -> Path:
    """A finished run of one simulated tile; gives its output."""
    world, out = folder / "world", folder / "one"
    if not (out / "catalog.json").exists():
        subprocess.run(command("simulate", world, "--tile", ONE, "--dates", 1), check=True)
        text = CONFIG.format(tiles=ONE, catalog=world / "catalog.json", out=out)
        (folder / "one.yaml").write_text(text)
        subprocess.run(command("run", folder / "one.yaml"), check=True)
    return out


def copied(source: Path, out: Path, tiles: tuple[Tile, ...]) -> None:
    """The one tile's files under every tile's name: records rewritten, rasters linked."""
    files = [path for path in source.rglob("*") if path.is_file() and ONE in str(path.relative_to(source))]
    texts = {path: path.read_text() for path in files if path.suffix == ".json"}
    for one in tiles:
        for path in files:
            to = out / str(path.relative_to(source)).replace(ONE, one.name)
            to.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix != ".json":
                os.link(path, to)
            elif path.name == "item.json":
                to.write_bytes(to_json(placed(json.loads(texts[path].replace(ONE, one.name)), one)))
            else:
                to.write_text(texts[path].replace(ONE, one.name))


def placed(item: dict[str, object], one: Tile) -> Json:
    """The item where its new tile is."""
    item |= {"bbox": list(compute_bbox(one.footprint)), "geometry": to_geojson(one.footprint)}
    properties = item["properties"]
    assert isinstance(properties, dict)
    grid = one.build_geobox(120)
    properties |= {"proj:code": f"EPSG:{one.epsg}", "proj:transform": list(grid.transform)[:6]}
    return item


def stamp(ctx: RunContext) -> None:
    """Corrections for all neighbours, and the fingerprints that blend and landcover would have written."""
    own = json.loads((Path(ctx.config.out) / f"balance/{ONE}.json").read_text())["corrections"][ONE]
    for one in ctx.tiles:
        names = sorted({one.name, *(other.name for other in ctx.find_neighbours(one))})
        ctx.store.put(f"balance/{one.name}.json", to_json({"corrections": dict.fromkeys(names, own)}))
    for step in (blend.STEP, landcover.STEP):
        for one in ctx.tiles:
            mark = step.marker(ctx, one)
            path = Path(ctx.config.out) / mark.key
            item = json.loads(path.read_text())
            item["properties"]["s2ops:fingerprint"] = mark.fingerprint
            path.write_bytes(to_json(item))


def made(folder: Path, count: int) -> Path:
    """The configuration of a run of so many finished tiles that is not published yet."""
    tiles, out = block(count), folder / f"run-{count}"
    text = CONFIG.format(tiles=", ".join(one.name for one in tiles), catalog=folder / "world/catalog.json", out=out)
    path = folder / f"{count}.yaml"
    path.write_text(text)
    if not (out / "plan/plan.json").exists():
        shutil.rmtree(out, ignore_errors=True)
        copied(one_tile(folder), out, tiles)
        shutil.copytree(folder / "one/balance", out / "balance", dirs_exist_ok=True)
        stamp(RunContext(config.parse(text, "benchmark"), tiles))
        subprocess.run(command("step", "plan", path), check=True, stderr=subprocess.DEVNULL)
    return path


def looks(path: Path, out: Path) -> Iterator[tuple[str, Callable[[], list[str]]]]:
    """(name, command) of what looks at all tiles."""
    yield "plan again: nothing to do", lambda: command("step", "plan", path)
    yield "group landcover", lambda: command("group", "landcover", path, "--list", os.devnull)
    yield "publish, with the report", lambda: command("step", "publish", path)
    yield "publish again: nothing to do", lambda: command("step", "publish", path)
    yield "verify", lambda: [sys.executable, "-c", VERIFY, "verify", str(out)]


def main() -> None:
    """A table."""
    folder, counts = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]] or [1000, 10000]
    folder.mkdir(parents=True, exist_ok=True)
    one_tile(folder)
    print("| command | tiles | wall s | CPU s | ms CPU a tile | peak MiB |\n|---|---|---|---|---|---|")
    for count in counts:
        path = made(folder, count)
        for name, words in looks(path, folder / f"run-{count}"):
            cost = took(words())
            if cost is None:
                print(f"| {name} | {count:,} | failed | | | |", flush=True)
                continue
            each = 1000 * cost.cpu / count
            print(
                f"| {name} | {count:,} | {cost.wall:.1f} | {cost.cpu:.1f} | {each:.1f} | {cost.rss:.0f} |", flush=True
            )


if __name__ == "__main__":
    main()
