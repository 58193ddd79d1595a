"""Web application of `s2ops view`: images and values match the run, and nothing else is served."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from morecantile import tms
from PIL import Image
from pyproj import Transformer
from starlette.testclient import TestClient

from s2ops.constants import CLASS_COLOURS, LandCover, UInt8
from s2ops.errors import ConfigError, InputError
from s2ops.geo.mgrs_tiles import find_neighbours, parse_tile
from s2ops.geo.tile_ownership import compute_ownership_mask
from s2ops.imaging import rendering
from s2ops.imaging.tone_curve import build_reflectance_table
from s2ops.raster.reader import read_all
from s2ops.storage.done_marker import to_json
from s2ops.storage.object_store import Store
from s2ops.view import app as view_app
from s2ops.view import tiles as view_tiles
from s2ops.view.app import build_application
from s2ops.view.basemap import Basemap
from s2ops.view.run import ViewedRun
from s2ops.view.server import open_listening_socket
from s2ops.view.static_files import Page
from tests.helpers.finished_run import create_scenes, write_small_run

TWO = ("33TWL", "33TWM")
MERCATOR = tms.get("WebMercatorQuad")
PLACE = (15.98, 45.81)
"""Longitude and latitude of a point in 33TWL."""
EAST = "01KAB"
WEST = next(other.name for other in find_neighbours(parse_tile(EAST)) if other.zone == 60)


def start_client(*stores: Store, **options: Any) -> TestClient:
    """Start a client of an application over one or two runs."""
    runs = {name: ViewedRun(store.uri) for name, store in zip("ab", stores, strict=False)}
    return TestClient(build_application(runs, ["testserver"], **options), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_small_run(tmp_path_factory.mktemp("run"), TWO)


@pytest.fixture(scope="module")
def site(store: Store) -> Iterator[TestClient]:
    with start_client(store) as made:
        yield made


def get_map_tile(site: TestClient, layer: str, zoom: int, place: tuple[float, float] = PLACE, more: str = "") -> UInt8:
    """Get the map tile over a point: `(y, x, RGBA)`."""
    where = MERCATOR.tile(*place, zoom)
    answer = site.get(f"/tiles/a/{layer}/{where.z}/{where.x}/{where.y}{more}")
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGBA"))


def pick_pixel(image: UInt8, zoom: int, place: tuple[float, float] = PLACE) -> UInt8:
    """Pick the pixel of a map tile at a point."""
    where = MERCATOR.tile(*place, zoom)
    left, _, right, top = MERCATOR.xy_bounds(where)
    x, y = MERCATOR.xy(*place)
    scale = view_tiles.TILE_SIZE_PX / (right - left)
    return image[int((top - y) * scale), int((x - left) * scale)]


def read_run_pixel(store: Store, key: str) -> UInt8:
    """Read the bands of the run's pixel at PLACE, located by the grid of 33TWL alone."""
    grid = parse_tile("33TWL").build_geobox(120)
    x, y = Transformer.from_crs(4326, 32633, always_xy=True).transform(*PLACE)
    column, row = ~grid.transform * (x, y)
    return read_all(store.get_gdal_path(key))[:, int(row), int(column)]


def test_page_loads_only_its_own_files(site: TestClient) -> None:
    answer = site.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    named = set(re.findall(r'(?:src|href)="(/[^"]+)"', answer.text))
    page = Page.from_package()
    scripts = [file.data.decode() for name, file in page.files.items() if name.endswith(".js")]
    named |= {f"/page/{name}" for text in scripts for name in re.findall(r"from '\./([^']+)'", text)}
    assert len(named) > 8
    for name in named:
        assert site.get(name).status_code == 200, name
    own = [file.data.decode() for name, file in page.files.items() if not name.startswith("vendor/")]
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", "".join(own))


def test_map_tile_shows_the_mosaic_at_its_position_in_display_colours(store: Store, site: TestClient) -> None:
    shown = pick_pixel(get_map_tile(site, "truecolour", 9), 9)
    wanted = rendering.build_display_table()[read_run_pixel(store, "mosaic/33TWL/mosaic.tif")[:3]]
    assert shown[3] == 255
    assert np.abs(shown[:3].astype(int) - wanted).max() <= 6  # tolerance for neighbouring pixels and WebP


def test_map_tile_of_classes_and_dates_has_exactly_the_legend_colours(store: Store, site: TestClient) -> None:
    layers = site.get("/api/runs").json()["runs"]["a"]["layers"]
    for layer in ("landcover", "dates"):
        image = get_map_tile(site, layer, 8)
        colours = {
            rendering.format_hex_colour((int(r), int(g), int(b)))
            for r, g, b, a in np.unique(image.reshape(-1, 4), axis=0)
            if a
        }
        assert colours <= {colour for colour, _ in layers[layer]["legend"]}
        assert len(colours) == {"landcover": 1, "dates": 2}[layer]  # in the synthetic scenes
    code = LandCover(int(read_run_pixel(store, "landcover/33TWL/landcover.tif")[0]))
    assert tuple(pick_pixel(get_map_tile(site, "landcover", 9), 9)[:3]) == CLASS_COLOURS[code]


def test_overlap_shows_the_tile_that_owns_the_point_on_map_and_in_query(tmp_path: Path) -> None:
    """Compare with `s2ops areas`: the owner has the larger border distance; its holes show the other tile."""
    run = write_small_run(tmp_path, TWO)
    for name, code in zip(TWO, (LandCover.WATER, LandCover.TREE), strict=True):
        path = tmp_path / f"landcover/{name}/landcover.tif"
        shape = read_all(str(path)).shape
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
            dst.write(np.full(shape, code, np.uint8))
    holed = tmp_path / "mosaic/33TWL/mosaic.tif"
    with rasterio.open(holed, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as dst:
        dst.write(np.zeros((4, *dst.shape), np.uint8))
    with start_client(run) as site:
        image = get_map_tile(site, "landcover", 9, (15.7, 46.0))
        for lat in (45.965, 45.98, 45.99, 46.02, 46.03, 46.045):
            said = site.get(f"/api/a/at?lon=15.7&lat={lat}").json()
            owner = find_owner("33TWL", "33TWM", 15.7, lat)
            assert said["overlap"] == [owner, *(name for name in TWO if name != owner)]
            wanted = {"33TWL": LandCover.WATER, "33TWM": LandCover.TREE}[owner]
            assert tuple(pick_pixel(image, 9, (15.7, lat))[:3]) == CLASS_COLOURS[wanted], lat
            assert said["tile"] == "33TWM"  # the mosaic of 33TWL has a hole there
        assert {find_owner("33TWL", "33TWM", 15.7, lat) for lat in (45.965, 46.045)} == set(TWO)


def find_owner(name: str, other: str, lon: float, lat: float) -> str:
    """Find which of two tiles owns a point, by the rule of `s2ops areas`."""
    grid = parse_tile(name).build_geobox(120)
    column, row = ~grid.transform * Transformer.from_crs(4326, parse_tile(name).epsg, always_xy=True).transform(
        lon, lat
    )
    block = grid[int(row) : int(row) + 1, int(column) : int(column) + 1]
    return name if compute_ownership_mask(parse_tile(name), [parse_tile(other)], block).item() else other


def test_map_tile_of_scenes_is_selected_by_day(site: TestClient) -> None:
    newer = get_map_tile(site, "scene", 8, more="?date=2023-08-20").astype(int)
    older = get_map_tile(site, "scene", 8, more="?date=2023-08-10").astype(int)
    both = (newer[..., 3] > 0) & (older[..., 3] > 0)
    assert both.any()
    assert (older - newer)[both][:, :3].mean() > 0.5  # its levels are 3 higher
    where = MERCATOR.tile(*PLACE, 8)
    assert site.get(f"/tiles/a/scene/8/{where.x}/{where.y}?date=2023-08-11").status_code == 204


def test_map_tile_is_empty_outside_the_run(site: TestClient) -> None:
    assert site.get("/tiles/a/truecolour/8/10/10").status_code == 204
    image = get_map_tile(site, "truecolour", 8)
    assert 0 < (image[..., 3] == 0).mean() < 1


def test_map_tiles_of_two_zones_meet_at_the_antimeridian(tmp_path: Path) -> None:
    run = write_small_run(tmp_path, (EAST, WEST), scenes={name: create_scenes(name) for name in (EAST, WEST)})
    with start_client(run) as site:
        for lon in (179.9, 179.99, 179.999, -179.999, -179.99, -179.9):
            assert pick_pixel(get_map_tile(site, "landcover", 9, (lon, -16.75)), 9, (lon, -16.75))[3] == 255, lon
        said = [site.get(f"/api/a/at?lon={lon}&lat=-16.75").json()["tile"] for lon in (179.99, 180.01, -179.99)]
        assert set(said) <= {EAST, WEST}
        bounds = site.get("/api/runs").json()["runs"]["a"]["bounds"]
        assert bounds[0] > bounds[2]


def test_map_tile_cached_by_the_browser_is_not_read_again(
    store: Store, site: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = MERCATOR.tile(*PLACE, 9)
    url = f"/tiles/a/confidence/9/{where.x}/{where.y}"
    etag = site.get(url).headers["etag"]
    monkeypatch.setattr(view_tiles.rasterio, "open", lambda *_: pytest.fail("a file was opened"))
    answer = site.get(url, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["etag"] == etag
    assert site.get(url).status_code == 200  # from the cache of the server


def test_map_tile_changes_its_etag_when_the_file_is_rewritten(tmp_path: Path) -> None:
    run = write_small_run(tmp_path, ("33TWL",))
    where = MERCATOR.tile(*PLACE, 9)
    url = f"/tiles/a/landcover/9/{where.x}/{where.y}"
    with start_client(run) as site:
        etag = site.get(url).headers["etag"]
        path = tmp_path / "landcover/33TWL/landcover.tif"
        os.utime(path, (1, 1))
        viewed = ViewedRun(run.uri)
    with TestClient(build_application({"a": viewed}, ["testserver"])) as again:
        assert again.get(url, headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/tiles/a/truecolour/21/0/0", 400, "zoom 21 is above 20"),
        ("/tiles/a/truecolour/3/8/0", 400, "end at 7"),
        ("/tiles/a/truecolour/3/-1/0", 400, "three whole numbers"),
        ("/tiles/a/truecolour/3/1e2/0", 400, "three whole numbers"),
        ("/tiles/a/truecolour/3/٣/0", 400, "three whole numbers"),
        (f"/tiles/a/truecolour/3/{'9' * 5000}/0", 400, "three whole numbers"),
        ("/tiles/a/truecolour/3/0/0@4x", 400, "three whole numbers"),
        ("/tiles/a/truecolour/3/0/0?url=file:///etc/passwd", 400, "no option 'url'"),
        ("/tiles/a/truecolour/3/0/0?scale=100000", 400, "no option 'scale'"),
        ("/tiles/a/scene/3/0/0", 400, "give a day"),
        ("/tiles/a/scene/3/0/0?date=../../x", 400, "give a day"),
        ("/tiles/a/elevation/3/0/0", 404, "no layer 'elevation'"),
        ("/tiles/c/truecolour/3/0/0", 404, "no run 'c'"),
        ("/tiles/a/truecolour/3/0/0/0", 404, "no such page"),
        ("/api/a/tile/33TXX", 404, "is not a tile of this run"),
        ("/api/a/tile/..%2F..%2Fplan", 404, "no such page"),
        ("/api/a/tile/%2e%2e", 404, "is not a tile of this run"),
        ("/api/a/at", 400, "point in degrees"),
        ("/api/a/at?lon=nan&lat=1", 400, "point on Earth"),
        ("/api/a/at?lon=1&lat=91", 400, "point on Earth"),
        ("/api/a/at?lon=1&lat=1e999", 400, "point on Earth"),
        ("/page/..%2f..%2fapp.py", 404, "no such file"),
        ("/page/../app.py", 404, "no such"),
        ("/page/vendor/../../app.py", 404, "no such"),
        ("/plan/plan.json", 404, "no such page"),
        ("/api/runs?x=<script>", 400, "no option 'x'"),
    ],
)
def test_hostile_request_is_rejected_in_one_sentence(site: TestClient, path: str, status: int, words: str) -> None:
    answer = site.get(path)
    assert answer.status_code == status
    sentence = answer.json()["error"]
    assert words in sentence
    assert len(sentence) < 200
    assert "Traceback" not in answer.text
    assert "/tmp" not in answer.text


def test_server_accepts_only_get_and_its_own_host_names(site: TestClient) -> None:
    assert site.post("/api/runs").status_code == 405
    assert site.get("/api/runs", headers={"Host": "evil.example.org"}).status_code == 400


def test_point_query_returns_the_values_of_the_pixel(store: Store, site: TestClient) -> None:
    said = site.get(f"/api/a/at?lon={PLACE[0]}&lat={PLACE[1]}").json()
    levels = read_run_pixel(store, "mosaic/33TWL/mosaic.tif")
    number = int(read_run_pixel(store, "mosaic/33TWL/provenance.tif")[0])
    assert said["tile"] == "33TWL"
    assert list(said["levels"].values()) == levels.tolist()
    assert said["reflectance"]["nir"] == pytest.approx(float(build_reflectance_table()[levels[3]]), abs=1e-4)
    assert said["class"]["code"] == int(read_run_pixel(store, "landcover/33TWL/landcover.tif")[0])
    assert said["class"]["confidence"] == int(read_run_pixel(store, "landcover/33TWL/confidence.tif")[0])
    scene = create_scenes("33TWL")[number - 1]
    assert said["source"] == {"id": scene.id, "date": scene.datetime[:10], "tile": "33TWL"}
    assert said["share"] == 100
    round_the_earth = site.get(f"/api/a/at?lon={PLACE[0] + 360}&lat={PLACE[1]}").json()
    assert round_the_earth["levels"] == said["levels"]
    assert site.get("/api/a/at?lon=0&lat=0").json()["tile"] is None


def test_tile_query_returns_the_scene_list_with_reasons(site: TestClient) -> None:
    said = site.get("/api/a/tile/33TWL").json()
    assert [(one["id"], one["decision"], one["use"]) for one in said["scenes"]] == [
        ("S2A_33TWL_20230820_0_L2A", "taken", "mosaic"),
        ("S2B_33TWL_20230810_0_L2A", "taken", "mosaic"),
    ]
    assert said["left_out"] == [{"id": "S2B_CLOUDY", "reason": "cloud cover 97 % is above max_cloud 80"}]
    assert said["seams"] == [{"neighbour": "33TWM", "before": 1.9, "after": 1.02}]
    assert sum(said["areas"].values()) > 1000


def test_seams_geojson_follows_the_border_of_the_neighbour(site: TestClient) -> None:
    edges = site.get("/api/a/seams.geojson").json()
    assert edges["left_out"] == 0
    assert {(e["properties"]["tile"], e["properties"]["after"]) for e in edges["features"]} == {(n, 1.02) for n in TWO}
    south = next(e for e in edges["features"] if e["properties"]["tile"] == "33TWL")
    lats = [lat for _, lat in south["geometry"]["coordinates"]]
    assert 45.95 < min(lats) < max(lats) < 45.97  # latitude of the southern border of 33TWM


@pytest.fixture
def troubled(tmp_path: Path) -> Store:
    """Run with a tile of every status."""
    store = write_small_run(tmp_path, ("33TWL", "33TWM", "33TXL", "33TXM"), scenes={
        "33TWL": create_scenes("33TWL"), "33TWM": create_scenes("33TWM"), "33TXL": create_scenes("33TXL"), "33TXM": [],
    })  # fmt: skip
    plan = json.loads(store.get("plan/plan.json") or b"")
    plan["tiles"] |= {"33TVL": [], "33TVM": [], "33TVN": [], "99XYZ": []}
    store.put("plan/plan.json", to_json(plan))
    store.put("run/acquire/33TVL.failed.json", to_json({"error": "every scene of 33TVL is broken"}))
    catalog = json.loads(store.get("catalog.json") or b"")
    store.put("catalog.json", to_json({**catalog, "s2ops:missing": {"33TVM": "the run ended before it was made"}}))
    store.put("mosaic/33TXL/item.json", b"{cut off")
    store.put("run/select/33TVN.json", to_json({"step": "select"}))
    return store


def test_tiles_geojson_has_status_and_reason_of_each_tile(troubled: Store) -> None:
    with start_client(troubled) as site:
        features = site.get("/api/a/tiles.geojson").json()["features"]
        said = {
            one["properties"]["tile"]: (one["properties"]["status"], one["properties"]["reason"]) for one in features
        }
        assert said["33TWL"] == ("done", "")
        assert said["33TXM"] == ("empty", "no scene has clear pixels")
        assert said["33TVL"] == ("failed", "acquire: every scene of 33TVL is broken")
        assert said["33TVM"] == ("missing", "the run ended before it was made")
        assert said["33TVN"] == ("waiting", "not finished; select is done")
        assert said["33TXL"][0] == "damaged"
        assert "mosaic/33TXL/item.json is damaged" in said["33TXL"][1]
        run = site.get("/api/runs").json()["runs"]["a"]
        assert run["counts"] == {"done": 2, "empty": 1, "failed": 1, "missing": 1, "waiting": 1, "damaged": 1}
        assert {one["tile"] for one in run["troubled"]} == {"33TXM", "33TVL", "33TVM", "33TXL"}
        assert any("99XYZ" in problem for problem in run["problems"])


def test_map_tile_leaves_out_a_damaged_file_and_reports_it(troubled: Store) -> None:
    path = Path(troubled.uri) / "mosaic/33TWM/mosaic.tif"
    path.write_bytes(path.read_bytes()[:300])
    with start_client(troubled) as site:
        image = get_map_tile(site, "truecolour", 7)
        assert image[..., 3].any()
        problems = site.get("/api/runs").json()["runs"]["a"]["problems"]
        assert [p for p in problems if p.startswith("mosaic/33TWM/mosaic.tif cannot be read")]
        said = site.get("/api/a/at?lon=15.7&lat=46.5").json()
        assert said["levels"] is None


def test_viewed_run_without_a_plan_has_the_tiles_that_exist(tmp_path: Path) -> None:
    run = write_small_run(tmp_path, ("33TWL",))
    run.put("plan/plan.json", b"[1]")
    with start_client(run) as site:
        described = site.get("/api/runs").json()["runs"]["a"]
        assert described["tiles"] == 1
        assert described["problems"][0].startswith("plan/plan.json is damaged")


@pytest.mark.parametrize(
    ("damage", "named"), [(b"{cut off", 1), (b"[]", 1), (b"\xff\xfe", 1), (b'{"s2ops:missing": 7}', 0)]
)
def test_viewed_run_with_a_damaged_catalog_shows_all_tiles(damage: bytes, named: int, tmp_path: Path) -> None:
    run = write_small_run(tmp_path, ("33TWL",))
    run.put("catalog.json", damage)
    with start_client(run) as site:
        described = site.get("/api/runs").json()["runs"]["a"]
        assert described["counts"] == {"done": 1}
        assert get_map_tile(site, "truecolour", 9)[..., 3].any()
        assert len(described["problems"]) == named
        assert all(problem.startswith("catalog.json is damaged") for problem in described["problems"])


def test_viewed_run_shows_a_tile_that_was_finished_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_small_run(tmp_path, TWO)
    item = run.get("mosaic/33TWM/item.json") or b""
    run.delete("mosaic/33TWM/item.json")
    viewed = ViewedRun(run.uri)
    assert viewed.state.counts == {"done": 1, "waiting": 1}
    run.put("mosaic/33TWM/item.json", item)
    monkeypatch.setattr("s2ops.view.run._REFRESH_INTERVAL_S", {True: 0.0, False: 0.0})
    before = viewed.state.tag  # starts reading the store again
    viewed.close()
    viewed._worker.shutdown(wait=True)
    assert viewed._state.counts == {"done": 2}
    assert viewed._state.tag != before


def test_map_tile_of_a_large_region_at_low_zoom_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from s2ops.geo.mgrs_tiles import list_all_tiles  # noqa: PLC0415

    names = [one.name for one in list_all_tiles() if 30 <= one.zone <= 36 and one.name[2] in "TU"]
    store = Store(str(tmp_path))
    store.put("plan/plan.json", to_json({"config": {"resolution": 10}, "tiles": {name: [] for name in names}}))
    monkeypatch.setattr(view_tiles.rasterio, "open", lambda *_: pytest.fail("a file was opened"))
    with start_client(store) as site:
        run = site.get("/api/runs").json()["runs"]["a"]
        assert run["tiles"] == len(names) > 600
        zoom = run["min_zoom"]
        assert 5 <= zoom <= 8
        where = MERCATOR.tile(*PLACE, zoom - 2)
        answer = site.get(f"/tiles/a/truecolour/{where.z}/{where.x}/{where.y}")
        assert (answer.status_code, answer.json()["error"]) == (
            404, "at this zoom, truecolour would open too many files; zoom in"
        )  # fmt: skip
        over = [view_tiles.find_tiles(ViewedRun(store.uri), MERCATOR.tile(lon, 50, zoom)) for lon in (0, 9, 15, 20)]
        assert max(map(len, over)) <= view_tiles.MAX_FILES
        assert len(site.get("/api/a/tiles.geojson").json()["features"]) == len(names)


def test_server_returns_503_for_too_many_waiting_requests(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_app, "_MAX_WAITING_REQUESTS", 0)
    with start_client(store) as site:
        answer = site.get("/tiles/a/truecolour/0/0/0")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_server_error_is_a_sentence_without_a_traceback(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_app.point_query, "query_point", lambda *_: 1 / 0)
    with start_client(store) as site:
        answer = site.get("/api/a/at?lon=1&lat=1")
        assert answer.status_code == 500
        assert answer.json()["error"] == "s2ops view failed (ZeroDivisionError); see its terminal"


@pytest.mark.parametrize("place", ["no/such/folder", "."])
def test_viewed_run_of_another_folder_raises_and_creates_nothing(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"is not a (folder|run)"):
        ViewedRun(place)
    assert not list(tmp_path.iterdir())


def test_view_command_on_a_port_in_use_ends_in_one_sentence(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-c", "from s2ops.cli import main; main()", "view", store.uri, "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr == f"s2ops: --port {port} is in use by another program; give another port.\n"


def test_view_command_prints_damaged_files_and_serves_the_map(tmp_path: Path) -> None:
    run = write_small_run(tmp_path, ("33TWL",))
    run.put("catalog.json", b"{cut off")
    command = [sys.executable, "-u", "-c", "from s2ops.cli import main; main()", "view", run.uri, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("map         http://127.0.0.1:")
        assert process.stderr.readline().startswith("damaged     catalog.json is damaged")
        process.terminate()
        assert process.wait(timeout=60) == 0


def test_listening_socket_on_an_address_of_another_machine_raises() -> None:
    with pytest.raises(
        ConfigError, match=r"--host 192\.0\.2\.1 --port 0 cannot be opened: .*; give an address of this machine"
    ):
        open_listening_socket("192.0.2.1", 0)


def test_basemap_is_the_only_other_origin_that_the_page_may_request(store: Store) -> None:
    below = Basemap.from_url("https://tiles.example.org/{z}/{x}/{y}.png", "Example")
    with start_client(store, basemap=below) as site:
        answer = site.get("/api/runs")
        assert answer.json()["basemap"] == {"url": "https://tiles.example.org/{z}/{x}/{y}.png", "credit": "Example"}
        policy = answer.headers["content-security-policy"]
        assert policy.count("https://tiles.example.org") == 2
        assert "script-src 'self';" in policy
    for wrong in (
        "tiles.example.org/{z}/{x}/{y}",
        "https://a;b/{z}/{x}/{y}",
        "ftp://a/{z}/{x}/{y}",
        "https://a/{z}/{x}",
    ):
        with pytest.raises(ConfigError, match="--basemap is not a URL of map tiles"):
            Basemap.from_url(wrong, "")


def test_server_keeps_two_runs_separate(store: Store, tmp_path: Path) -> None:
    other = write_small_run(tmp_path / "other", ("33TWL",), landcover=False)
    with start_client(store, other) as site:
        runs = site.get("/api/runs").json()["runs"]
        assert runs["b"]["title"] == "other"
        assert "landcover" in runs["a"]["layers"]
        assert "landcover" not in runs["b"]["layers"]
        assert runs["b"]["counts"] == {"done": 1}
        assert site.get("/tiles/b/landcover/8/139/91").status_code == 204
