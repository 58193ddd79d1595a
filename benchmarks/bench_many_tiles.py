"""Scaling with the number of tiles on one machine: memory and time per tile of the whole chain, hundreds of tiles.

    python benchmarks/bench_many_tiles.py FOLDER [TILES] [--thin]

Simulates a few tiles at 120 m, one date, and copies their scenes to TILES neighbouring tiles in turn, because
simulating all tiles would take longer than the chain. Runs `s2ops run` and `s2ops verify` over them. Prints for each
step the time per tile and the memory of the main process and of the workers, in the order in which tiles were
processed. Neighbours show different ground, so verify finds their seams.
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
from process_usage import measure_command
from rasterio.transform import Affine

import s2ops.models
from s2ops.geo.footprint import compute_bbox, to_geojson
from s2ops.geo.mgrs_tiles import Tile, TileIndex, list_all_tiles, parse_tile
from s2ops.models.registry import LANDCOVER

CENTRE = "33TWM"
SEEDS = ("31TGM", "31UCA", "31TEM", "31TFN", "30UYD", "31TFM", "31TGN", "30UYE")
"""Tiles that are simulated; one satellite pass covers all of them."""
MARKS = (25, 50, 100, 200, 400, 800)
"""Numbers of finished tiles at which a step gets a row of the table."""
CONFIG = """region: {{tiles: [{tiles}]}}
dates: {{start: 2023-06-01, end: 2023-07-31}}
catalog: {catalog}
max_cloud: 95
max_scenes: 1
resolution: 120
landcover: {{max_dates: 1}}
out: {out}
"""


def find_tiles_around_centre(count: int) -> list[Tile]:
    """Find `count` tiles around the centre, ring by ring, so that most have all their neighbours in the run."""
    index, found = TileIndex(list_all_tiles()), [parse_tile(CENTRE)]
    known = set(found)
    for tile in found:
        if len(found) >= count:
            return sorted(found[:count])
        new = [other for other in index.find_neighbours(tile) if other not in known]
        found += new
        known |= set(new)
    raise SystemExit(f"Cannot find {count} tiles: the grid has only {len(found)}; give a smaller number.")


def write_catalog(seeds: Path, world: Path, tiles: Sequence[Tile]) -> Path:
    """Write a static catalog with one of the seeds' scenes for each of the tiles; return its path."""
    sources = sorted(path.parent for path in seeds.glob("sentinel-2-l2a/*/*.json"))
    links = []
    for number, tile in enumerate(tiles):
        source = sources[number % len(sources)]
        seed = source.name.split("_")[1]
        name = source.name.replace(seed, tile.name)
        target = world / name
        shutil.copytree(source, target)
        (target / f"{source.name}.json").unlink()
        item = json.loads((source / f"{source.name}.json").read_text().replace(seed, tile.name))
        (target / f"{name}.json").write_text(json.dumps(move_item_to_tile(item, tile)))
        for path in target.glob("*.tif"):
            move_raster_to_tile(path, tile)
        links.append({"rel": "item", "href": f"./{name}/{name}.json"})
    root = {"type": "Catalog", "id": "many", "stac_version": "1.0.0", "description": "many tiles", "links": links}
    (world / "catalog.json").write_text(json.dumps(root))
    return world / "catalog.json"


def move_item_to_tile(item: dict[str, Any], tile: Tile) -> dict[str, Any]:
    """Give an item the footprint and grid of another tile."""
    item |= {"geometry": to_geojson(tile.footprint), "bbox": list(compute_bbox(tile.footprint)), "links": []}
    square = {"utm_zone": tile.zone, "latitude_band": tile.name[2], "grid_square": tile.name[3:]}
    item["properties"] |= {f"mgrs:{key}": value for key, value in square.items()}
    item["properties"] |= {"proj:epsg": tile.epsg, "proj:code": f"EPSG:{tile.epsg}"}
    for asset in item["assets"].values():
        if "proj:transform" in asset:
            asset["proj:transform"] = list(tile.build_geobox(120).transform)[:6]
    return item


def move_raster_to_tile(path: Path, tile: Tile) -> None:
    """Give a raster of 120 m the CRS and transform of another tile."""
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.crs = f"EPSG:{tile.epsg}"
        scale = tile.build_geobox(120).width / file.width
        file.transform = tile.build_geobox(120).transform @ Affine.scale(scale, scale)


def build_command(*words: object) -> list[str]:
    """Build an s2ops command line that runs with this interpreter."""
    return [sys.executable, "-c", "from s2ops.cli import main; main()", *map(str, words)]


@dataclass
class MemoryTrace:
    """Resident memory of the main process over the time of a run."""

    samples: list[tuple[float, float]] = field(default_factory=list)
    """(seconds since 1970, MiB)."""

    def render_peak_mib(self, since: float, until: float) -> str:
        """Return the peak memory of a period; empty if another process made these tiles."""
        found = [mib for at, mib in self.samples if since <= at <= until]
        return f"{max(found):.0f}" if found else ""


def read_resident_mib(pid: int) -> float:
    """Read the current resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def run_chain(words: Sequence[str]) -> MemoryTrace:
    """Run the chain and record its memory."""
    trace = MemoryTrace()
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            with suppress(OSError, IndexError):  # the process may end in between
                trace.samples.append((time.time(), read_resident_mib(process.pid)))
            time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"The run failed with exit code {process.returncode}; see its messages above.")
    return trace


def render_rows(trace: MemoryTrace, out: Path) -> Iterator[str]:
    """Yield a row for each step and mark: time per tile since the previous mark, memory of workers and main process.

    The figures come from the run records of the tiles, so a run that was stopped and resumed is measured as well.
    """
    for step in ("select", "acquire", "composite", "blend", "landcover"):
        records = sorted((path.stat().st_mtime, path) for path in (out / f"run/{step}").glob("*.json"))
        first = json.loads(records[0][1].read_text())["wall_s"]
        before, since = 0, records[0][0] - first
        for mark in sorted({min(mark, len(records)) for mark in MARKS}):
            peaks = [json.loads(path.read_text())["peak_rss_mib"] for _, path in records[before:mark]]
            until = records[mark - 1][0]
            each = (until - since) / (mark - before)
            main = trace.render_peak_mib(since, until)
            yield f"| {step} | {mark} | {each:.2f} | {max(peaks):.0f} | {mean(peaks):.0f} | {main} |"
            before, since = mark, until


def write_tiny_networks(folder: Path) -> Path:
    """Write the package's weights, with an untrained land-cover network of width 2, which takes almost no time."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.helpers.triton import write_tiny_weights  # noqa: PLC0415 -- needs torch

    folder.mkdir(exist_ok=True)
    for path in (Path(s2ops.models.__file__).parent / "weights").glob("*.onnx"):
        shutil.copy(path, folder)
    write_tiny_weights(folder, LANDCOVER)
    return folder


def main() -> None:
    """Simulate missing tiles, run the chain and verify, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("tiles", type=int, nargs="?", default=200)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--thin", action="store_true", help="use a tiny network for land cover")
    given = parser.parse_args()
    folder, count = given.folder, given.tiles
    tiles, seeds, world, out = (
        find_tiles_around_centre(count),
        folder / "seeds",
        folder / f"world-{count}",
        folder / f"run-{count}",
    )
    folder.mkdir(parents=True, exist_ok=True)
    if not (seeds / "sentinel-2-l2a").exists():
        names = [word for name in SEEDS for word in ("--tile", name)]
        subprocess.run(build_command("simulate", seeds, *names, "--dates", 1, "--workers", given.workers), check=True)
    catalog = world / "catalog.json" if (world / "catalog.json").exists() else write_catalog(seeds, world, tiles)
    config = folder / "run.yaml"
    text = CONFIG.format(tiles=", ".join(tile.name for tile in tiles), catalog=catalog, out=out)
    config.write_text(text + (f"models: {write_tiny_networks(folder / 'weights')}\n" if given.thin else ""))
    start = time.monotonic()
    trace = run_chain(build_command("run", config, "--workers", given.workers))
    print(f"{count} tiles, {given.workers} workers: {time.monotonic() - start:.0f} s\n")
    print("| step | tiles | s per tile | peak MiB of a tile, maximum | mean | main process MiB |")
    print("|---|---|---|---|---|---|")
    print("\n".join(render_rows(trace, out)))
    checked = measure_command(["sh", "-c", f"{shlex.join(build_command('verify', out))} | tail -1 || true"])
    assert checked is not None
    print(f"\ns2ops verify: {checked.wall:.1f} s, {checked.cpu:.1f} s CPU, {checked.rss:.0f} MiB")


if __name__ == "__main__":
    main()
