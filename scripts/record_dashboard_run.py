"""Record a real run (simulated world, Triton on the CPU, Prometheus) and draw its dashboards.

Usage: PYTHONPATH=. python scripts/record_dashboard_run.py FOLDER OUT

First a run that meets a busy catalog, a server that is still loading and a broken scene; its dashboard is drawn when
land cover is half way. Then scenes of one tile are damaged and the run is repeated: that tile fails, and says why.
Takes some ten minutes on two cores; needs what `make dev` and scripts/install-test-services.sh install.
"""

import base64
import io
import subprocess
import sys
import time
from pathlib import Path

import draw_dashboards
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from s2ops.geo.mgrs_tiles import parse_tiles  # noqa: E402
from s2ops.inference.triton.server import ServerOptions  # noqa: E402
from s2ops.report import layers  # noqa: E402
from s2ops.report.gather import gather_run_facts  # noqa: E402
from s2ops.report.maps import Canvas  # noqa: E402
from s2ops.storage.object_store import Store  # noqa: E402
from tests.helpers.chain import build_command, make_world, write_config  # noqa: E402 -- the tests' own world and servers
from tests.helpers.prometheus import Prometheus, serve_folder, start_prometheus  # noqa: E402
from tests.helpers.triton import find_free_ports, open_server_host, start_loading_server  # noqa: E402

TILES = ("32TQR", "32TQS", "33TUL", "33TUM")


def main() -> None:
    """Run twice and draw the dashboards."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    catalog = folder / "world/catalog.json"
    if not catalog.exists():
        make_world(folder / "world", TILES)
        broken = next(catalog.parent.glob("sentinel-2-l2a/*32TQS_20230622*/B08.tif"))
        broken.write_bytes(broken.read_bytes()[:5000])
    (port,) = find_free_ports(1)
    with open_server_host(ServerOptions()) as triton, serve_folder(catalog.parent, refusals=2) as url:
        config = write_config(folder / "run.yaml", f"{url}/{catalog.name}", folder / "out", TILES)
        words = ["run", config, "--segmenter", triton.url, "--workers", 2, "--metrics-port", port]
        targets = {"run": port, "triton": triton.options.metrics_port}
        rules = ROOT / "helm/s2ops/files/rules/s2ops.yaml"
        with start_prometheus(folder, targets, rules) as server, start_loading_server(triton):
            start = time.time() - 2
            first = subprocess.Popen(build_command(*words))  # noqa: S603 -- our own command line
            _wait_for_land_cover(server, first)
            draw_dashboards.draw_all(_build_url(server), out, start, time.time(), ["run"])
            _wait_for_end(first, 0)
            end = time.time()
            draw_dashboards.draw_all(_build_url(server), out, start, end, ["inference", "quality"])
            draw_dates_picture(folder / "out", out / "dates.jpg")
            for path in folder.glob("out/scenes/33TUM/*A.tif"):
                path.write_bytes(path.read_bytes()[:5000])
            (folder / "out/composite/33TUM/item.json").unlink()
            _wait_for_end(subprocess.Popen(build_command(*words)), 2)  # noqa: S603 -- as above
            draw_dashboards.draw_all(_build_url(server), out, start, time.time(), ["failures"])


def draw_dates_picture(run: Path, path: Path) -> None:
    """Draw the layer "Dates" of the report with its legend."""
    store, names = Store(str(run)), TILES
    canvas = Canvas.from_tiles(parse_tiles(names), 120)
    [layer] = [
        one for one in layers.draw_map_layers(store, gather_run_facts(store, names), canvas) if one.id == "dates"
    ]
    picture = Image.open(io.BytesIO(base64.b64decode(layer.uri.partition(",")[2]))).convert("RGBA")
    picture.thumbnail((700, 700))
    sheet = Image.new("RGB", (picture.width + 260, picture.height), "white")
    sheet.paste(picture, (0, 0), picture)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for number, entry in enumerate(layer.legend):
        y = 20 + 34 * number
        draw.rectangle((picture.width + 16, y, picture.width + 38, y + 22), fill=entry.colour)
        draw.text((picture.width + 50, y), f"{entry.label}   {entry.percent:.0f} %", "black", font)
    sheet.save(path, quality=85)


def _wait_for_end(process: "subprocess.Popen[bytes]", wanted: int) -> None:
    if process.wait() != wanted:
        raise SystemExit(f"the run ended with {process.returncode}, not {wanted}")


def _wait_for_land_cover(server: Prometheus, run: "subprocess.Popen[bytes]") -> None:
    """Wait until half the tiles are classified and another is in progress."""
    while run.poll() is None:
        made = server.query('sum(s2ops_tiles_total{step="landcover",status="done"})')
        if made and float(made[0]["value"][1]) >= len(TILES) / 2:
            return
        time.sleep(1)
    raise SystemExit("the run ended before its land cover was seen half way")


def _build_url(server: Prometheus) -> str:
    return f"http://127.0.0.1:{server.port}"


if __name__ == "__main__":
    main()
