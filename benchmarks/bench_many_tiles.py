"""Hundreds of small tiles through the whole chain on one machine: does memory stay flat, and the time a tile?

Simulates a few tiles at 120 m, one date, lays their scenes over TILES neighbours in turn (simulating would take longer
than the chain), runs `s2ops run` over them and `s2ops verify` after, and prints for each stage the time a tile and the
memory of the main process and of the workers, in the order in which tiles came through. Neighbours show other ground
than one another, so verify finds their seams. Usage: python benchmarks/bench_many_tiles.py FOLDER [TILES] [--thin]
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

import rasterio
from process_usage import took
from rasterio.transform import Affine

import s2ops.models
from s2ops.geo.footprint import compute_bbox, to_geojson
from s2ops.geo.mgrs_tiles import Tile, TileIndex, list_all_tiles, parse_tile
from s2ops.models.registry import LANDCOVER

CENTRE = "33TWM"
SEEDS = ("31TGM", "31UCA", "31TEM", "31TFN", "30UYD", "31TFM", "31TGN", "30UYE")
"""Tiles that are simulated; one pass sees them all."""
MARKS = (25, 50, 100, 200, 400, 800)
"""A stage is looked at up to so many tiles."""
CONFIG = """region: {{tiles: [{tiles}]}}
dates: {{start: 2023-06-01, end: 2023-07-31}}
catalog: {catalog}
max_cloud: 95
max_scenes: 1
resolution: 120
landcover: {{max_dates: 1}}
out: {out}
"""


def block(count: int) -> list[Tile]:
    """`count` tiles around the centre, ring by ring, so that most have all their neighbours in the run."""
    index, found = TileIndex(list_all_tiles()), [parse_tile(CENTRE)]
    known = set(found)
    for one in found:
        if len(found) >= count:
            return sorted(found[:count])
        new = [other for other in index.find_neighbours(one) if other not in known]
        found += new
        known |= set(new)
    raise SystemExit(f"there are no {count} tiles")


def spread(seeds: Path, world: Path, tiles: Sequence[Tile]) -> Path:
    """A static catalog that has one of the seeds' scenes at each of the tiles; gives its path."""
    sources = sorted(path.parent for path in seeds.glob("sentinel-2-l2a/*/*.json"))
    links = []
    for number, one in enumerate(tiles):
        source = sources[number % len(sources)]
        seed = source.name.split("_")[1]
        name = source.name.replace(seed, one.name)
        to = world / name
        shutil.copytree(source, to)
        (to / f"{source.name}.json").unlink()
        item = json.loads((source / f"{source.name}.json").read_text().replace(seed, one.name))
        (to / f"{name}.json").write_text(json.dumps(moved(item, one)))
        for path in to.glob("*.tif"):
            place(path, one)
        links.append({"rel": "item", "href": f"./{name}/{name}.json"})
    root = {"type": "Catalog", "id": "many", "stac_version": "1.0.0", "description": "many tiles", "links": links}
    (world / "catalog.json").write_text(json.dumps(root))
    return world / "catalog.json"


def moved(item: dict[str, Any], one: Tile) -> dict[str, Any]:
    """The item with its new tile's outline and grid."""
    item |= {"geometry": to_geojson(one.footprint), "bbox": list(compute_bbox(one.footprint)), "links": []}
    square = {"utm_zone": one.zone, "latitude_band": one.name[2], "grid_square": one.name[3:]}
    item["properties"] |= {f"mgrs:{key}": value for key, value in square.items()}
    item["properties"] |= {"proj:epsg": one.epsg, "proj:code": f"EPSG:{one.epsg}"}
    for asset in item["assets"].values():
        if "proj:transform" in asset:
            asset["proj:transform"] = list(one.build_geobox(120).transform)[:6]
    return item


def place(path: Path, one: Tile) -> None:
    """Give a raster of 120 m its new tile's place."""
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.crs = f"EPSG:{one.epsg}"
        scale = one.build_geobox(120).width / file.width
        file.transform = one.build_geobox(120).transform @ Affine.scale(scale, scale)


def command(*words: object) -> list[str]:
    return [sys.executable, "-c", "from s2ops.cli import main; main()", *map(str, words)]


@dataclass
class Watched:
    """The memory of a run's main process as it went."""

    main: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since 1970, MiB)."""

    def main_mib(self, since: float, until: float) -> str:
        """Most memory of the main process in that time; nothing where another process made these tiles."""
        found = [mib for at, mib in self.main if since <= at <= until]
        return f"{max(found):.0f}" if found else ""


def resident_mib(pid: int) -> float:
    """Memory that the process holds now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run(words: Sequence[str]) -> Watched:
    """Run the chain and watch it."""
    watched = Watched()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(OSError, IndexError):  # it may end in between
                watched.main.append((time.time(), resident_mib(process.pid)))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"the run ended with {process.returncode}")
    return watched


def rows(watched: Watched, out: Path) -> Iterator[str]:
    """A line for each stage and mark: time a tile since the mark before, peak of the workers' steps, main process.

    From the records that each tile leaves, so that a run which was stopped and went on can be told too.
    """
    for step in ("select", "acquire", "composite", "blend", "landcover"):
        records = sorted((path.stat().st_mtime, path) for path in (out / f"run/{step}").glob("*.json"))
        first = json.loads(records[0][1].read_text())["wall_s"]
        before, since = 0, records[0][0] - first
        for mark in sorted({min(mark, len(records)) for mark in MARKS}):
            peaks = [json.loads(path.read_text())["peak_rss_mib"] for _, path in records[before:mark]]
            until = records[mark - 1][0]
            each = (until - since) / (mark - before)
            main = watched.main_mib(since, until)
            yield f"| {step} | {mark} | {each:.2f} | {max(peaks):.0f} | {mean(peaks):.0f} | {main} |"
            before, since = mark, until


def thin_networks(folder: Path) -> Path:
    """The package's weights, but untrained ones of width 2 for land cover, which take next to no time."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.helpers.triton import write_tiny_weights  # noqa: PLC0415 -- needs torch

    folder.mkdir(exist_ok=True)
    for path in (Path(s2ops.models.__file__).parent / "weights").glob("*.onnx"):
        shutil.copy(path, folder)
    write_tiny_weights(folder, LANDCOVER)
    return folder


def main() -> None:
    """Simulate what is missing, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tiles", type=int, nargs="?", default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--thin", action="store_true", help="land cover by networks that hardly work")
    given = parser.parse_args()
    folder, count = given.folder, given.tiles
    tiles, seeds, world, out = block(count), folder / "seeds", folder / f"world-{count}", folder / f"run-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (seeds / "sentinel-2-l2a").exists():
        names = [word for name in SEEDS for word in ("--tile", name)]
        subprocess.run(command("simulate", seeds, *names, "--dates", 1, "--workers", given.workers), check=True)
    catalog = world / "catalog.json" if (world / "catalog.json").exists() else spread(seeds, world, tiles)
    config = folder / "run.yaml"
    text = CONFIG.format(tiles=", ".join(one.name for one in tiles), catalog=catalog, out=out)
    config.write_text(text + (f"models: {thin_networks(folder / 'weights')}\n" if given.thin else ""))
    start = time.monotonic()
    watched = run(command("run", config, "--workers", given.workers))
    print(f"{count} tiles, {given.workers} workers: {time.monotonic() - start:.0f} s\n")
    print("| step | tiles | s a tile | peak MiB of a tile, most | mean | main process MiB |\n|---|---|---|---|---|---|")
    print("\n".join(rows(watched, out)))
    checked = took(["sh", "-c", f"{shlex.join(command('verify', out))} | tail -1 || true"])
    assert checked is not None
    print(f"\ns2ops verify: {checked.wall:.1f} s, {checked.cpu:.1f} s CPU, {checked.rss:.0f} MiB")


if __name__ == "__main__":
    main()
