"""The plan of a run: its arithmetic, what it refuses, and the land surface without reading a pixel."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Never

import numpy as np
import pytest
import rasterio
import yaml

from s2ops import config
from s2ops.cli.app import app
from s2ops.cost import comparison, plan_file, prices, rates, run_history, work_units
from s2ops.cost.acquisition_model import Sight, mean_cloud, orbits, sights, sun_elevation
from s2ops.cost.estimate import WHOLE, Forecast, Machines, Took, forecast
from s2ops.cost.plan import Planned
from s2ops.cost.plan_metrics import Ahead, hourly
from s2ops.cost.rates import Rates
from s2ops.cost.region_summary import Region, sample
from s2ops.cost.scene_model import Scenes, expected
from s2ops.errors import ConfigError, MissingInput, StoreUnreachable
from s2ops.geo import mgrs_tiles
from s2ops.geo.mgrs_tiles import parse_tile as grid_tile
from s2ops.geo.region import list_region_tiles
from s2ops.raster.reader import BandFile, slabs
from s2ops.run.context import RunContext
from s2ops.run.run_record import RunRecord
from s2ops.runtime.jit import compiled
from s2ops.storage.object_store import Store
from s2ops.telemetry import counters
from tests.helpers.chain import s2ops

ROOT = Path(__file__).parents[2]
PODS = Machines(pods=10, cores=2, group=4, local=False)
ONE = Machines(pods=1, cores=1)
SCENES = Scenes(20, 3, 5, 8, 9)


def settings(out: Path | str = "nowhere", **changes: object) -> config.RunConfig:
    data = {"region": {"tiles": ["33TWL", "33TWM"]}, "dates": {"start": "2023-06-01", "end": "2023-08-31"}}
    return config.RunConfig.model_validate({**data, "out": str(out), "resolution": 120, **changes})


def region(count: int, scenes: Scenes = SCENES) -> Region:
    tiles = mgrs_tiles.list_all_tiles()[20_000 : 20_000 + count]
    edges = {tile.name: 4 for tile in tiles}
    return Region(tiles, edges, 1e4 * count, {tile.name: scenes for tile in tiles}, "model", 0)


def planned(
    count: int = 8, machines: Machines = PODS, made: dict[str, frozenset[str]] | None = None, **changes: object
) -> Forecast:
    paid = changes.pop("prices", prices.load(None))
    assert isinstance(paid, prices.Prices)
    return forecast(settings(**changes), region(count), rates.packaged(), paid, machines, made or {})


def record(step: str = "acquire", *, first: bool = False, cpu_s: float = 10.0, **changes: object) -> RunRecord:
    data: dict[str, object] = {
        "step": step, "tile": "33TWL", "status": "done", "facts": {}, "resolution": 120, "threads": 1, "first": first,
        "wall_s": 1, "cpu_s": cpu_s, "peak_rss_mib": 100, "read_bytes": 1000, "written_bytes": 100, "requests": {},
        "rasters": 4, "network_cpu_s": 0, "network_px": 0,
    }  # fmt: skip
    return RunRecord.model_validate({**data, **changes})


# arithmetic


def test_twice_the_tiles_take_twice_the_processor_time_once_processes_have_started() -> None:
    begun = rates.packaged().model_copy(update={"starts": ()})
    four, eight = (forecast(settings(), region(count), begun, prices.load(None), ONE, {}) for count in (4, 8))
    for one, other in zip(four.steps, eight.steps, strict=True):
        if one.step != "publish":  # its report shows every region on maps of the same size
            assert other.took.cpu_s == pytest.approx(2 * one.took.cpu_s), one.step


def test_what_is_made_is_neither_done_nor_paid_again() -> None:
    whole = planned()
    names = frozenset(tile.name for tile in region(8).tiles)
    left = planned(made=dict.fromkeys(("select", "acquire", "composite"), names))
    assert [one.tiles for one in left.steps if one.step in {"select", "acquire", "composite"}] == [0, 0, 0]
    assert left.total < whole.total
    done = planned(made=dict.fromkeys(("select", "acquire", "composite", "blend", "landcover"), names))
    assert done.total == 0
    assert done.took == Took()


def test_the_steps_of_the_plan_add_up_to_its_totals() -> None:
    made = planned()
    assert made.total == pytest.approx(sum(value for one in made.steps for value in one.price.values()))
    assert made.compute == pytest.approx(sum(one.compute for one in made.steps))
    assert made.dearest.compute == max(one.compute for one in made.steps)


def test_more_pods_shorten_the_run_and_change_no_processor_time() -> None:
    few, many = planned(64, replace(PODS, pods=4)), planned(64, replace(PODS, pods=16))
    assert many.wall_s < few.wall_s
    assert many.took.cpu_s == pytest.approx(few.took.cpu_s)


def test_a_server_of_networks_takes_over_their_processor_time() -> None:
    inside, served = planned(), planned(segmenter="triton://somewhere:8001")
    assert inside.took.gpu_s == 0
    assert served.took.gpu_s > 0
    assert served.took.cpu_s < inside.took.cpu_s / 2


def test_finer_pixels_take_more_but_a_step_that_hardly_reads_any_takes_the_same() -> None:
    steps = {res: {one.step: one.took.cpu_s for one in planned(resolution=res).steps} for res in (10, 20, 60, 120)}
    for fine, coarse in ((10, 20), (20, 60), (60, 120)):
        assert steps[fine]["acquire"] > 3 * steps[coarse]["acquire"]
        assert steps[fine]["landcover"] > 3 * steps[coarse]["landcover"]
    assert steps[10]["select"] < 2 * steps[120]["select"]  # previews are 343 pixels wide at any resolution


def test_dearer_lines_make_a_dearer_plan() -> None:
    text = yaml.safe_load(prices.packaged_text())
    base = planned(segmenter="triton://somewhere:8001", resolution=10).total
    for name in prices.load(None).lines():
        dearer = {**text, name: {**text[name], "value": text[name]["value"] * 2 or 0.5}}
        if name in {"cpu_use", "gpu_use", "get_bytes"}:  # the more of these, the cheaper
            dearer[name]["value"] = text[name]["value"] / 2
        if name == "egress_gb":
            dearer["egress_part"] = {"value": 1.0, "source": "a download"}
        paid = prices.parse(yaml.safe_dump(dearer), "test")
        assert planned(segmenter="triton://somewhere:8001", resolution=10, prices=paid).total > base, name


def test_the_markers_of_a_run_say_what_is_made(tmp_path: Path) -> None:
    assert run_history.made(RunContext(settings(tmp_path / "none"), ())) == {}
    assert not (tmp_path / "none").exists()  # looking makes nothing
    for key in ("select/33TWL.json", "select/33TWM.json", "composite/33TWL/item.json", "mosaic/33TWL/item.json"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text("{}")
    made = run_history.made(RunContext(settings(tmp_path), ()))
    assert made["select"] == {"33TWL", "33TWM"}
    assert made["acquire"] == made["composite"] == made["blend"] == {"33TWL"}
    assert made["landcover"] == frozenset()


def test_all_edges_at_once_are_those_found_tile_by_tile() -> None:
    tiles = mgrs_tiles.parse_tiles(["33TWL", "33TWM", "33TXL", "32TQS", "33TUM", "01WCV", "60WWE", "01WCU"])
    edges = mgrs_tiles.TileIndex(tiles).count_neighbours()
    assert edges == {tile.name: len(mgrs_tiles.find_neighbours(tile, tiles)) for tile in tiles}
    assert sum(edges.values()) > 0


def test_sampled_tiles_are_spread_over_the_list() -> None:
    tiles = mgrs_tiles.list_all_tiles()
    picked = [tiles.index(tile) for tile in sample(tiles, 5)]
    assert picked == sorted(set(picked))
    assert picked[0] < len(tiles) / 5
    assert picked[-1] > len(tiles) * 4 / 5
    assert sample(tiles[:3], 10) == list(tiles[:3])
    assert sample(tiles, 0) == []


# scenes


def test_one_clear_scene_is_enough_and_clouds_ask_for_more() -> None:
    without = settings(landcover={"enabled": False})
    assert expected([Sight(0, 0)] * 5, without).used == pytest.approx(1)
    cloudy = expected([Sight(0.6, 0)] * 12, without)
    assert cloudy.used > 5
    assert cloudy.dates == 0
    assert expected([], without) == Scenes()


def test_no_more_scenes_are_read_than_there_are() -> None:
    for cloud in (0.0, 0.3, 0.9, 1.0):
        found = expected([Sight(cloud, 0.1)] * 4, settings())
        assert found.used <= found.read <= 4


def test_tiles_are_seen_more_often_towards_the_poles_and_not_in_polar_night() -> None:
    assert 1.2 < orbits(0) < 1.7  # one or two ground tracks touch a tile at the equator
    assert orbits(0) < orbits(45) < orbits(65)
    january = (date(2023, 1, 1), date(2023, 1, 31), 100.0)
    assert sights(75, *january) == ()
    assert len(sights(-40, *january)) > len(sights(0, *january)) > 0
    assert sun_elevation(75, date(2023, 1, 15)) < 0 < sun_elevation(75, date(2023, 6, 21))


def test_fewer_scenes_are_candidates_where_it_is_cloudier_or_the_limit_is_lower() -> None:
    summer = (date(2023, 6, 1), date(2023, 8, 31))
    assert mean_cloud(5) > mean_cloud(25)
    assert mean_cloud(-25) == mean_cloud(25)
    assert len(sights(46, *summer, 20)) < len(sights(46, *summer, 80)) <= len(sights(46, *summer, 100))
    assert all(one.cloud <= 0.2 + 1e-9 for one in sights(46, *summer, 20))


# rates


def test_the_start_of_a_process_is_told_from_the_work() -> None:
    found = [record(first=True, cpu_s=13), record(cpu_s=10), record(cpu_s=10)]
    new, starts = rates.measured(found, None)
    assert starts[0].cpu_s == pytest.approx(3)
    assert new[0].cpu_s == pytest.approx(30)
    assert new[0].units == new[0].work == 6  # two rasters a scene


def test_what_compiling_took_is_in_no_rate() -> None:
    new, starts = rates.measured([record(first=True, cpu_s=19, compile_cpu_s=6), record(cpu_s=10)], None)
    assert starts[0].cpu_s == pytest.approx(3)
    assert new[0].cpu_s == pytest.approx(20)


def test_compiling_is_counted_and_what_is_compiled_already_is_not() -> None:
    made: dict[str, Callable[[int], int]] = {}
    exec("def twice(value):\n    return value + value", made)  # of no file, so nothing is on disk
    twice = compiled(made["twice"])
    before = counters.now()
    assert twice(3) == 6
    spent = counters.since(before)["compile_cpu_s"]
    assert spent > 0
    before = counters.now()
    assert twice(4) == 8
    assert "compile_cpu_s" not in counters.since(before)


def test_a_run_takes_the_place_of_shipped_rates_and_outweighs_older_ones() -> None:
    shipped = rates.packaged()
    once = rates.updated(shipped, [record(cpu_s=20), record(cpu_s=20)], None, "once")
    assert once.amounts("acquire", 120, 1)["cpu_s"] == pytest.approx(10)
    assert once.amounts("select", 120, 1) == shipped.amounts("select", 120, 1)
    twice = rates.updated(once, [record(cpu_s=40), record(cpu_s=40)], None, "twice")
    assert twice.amounts("acquire", 120, 1)["cpu_s"] == pytest.approx((0.5 * 40 + 80) / (0.5 * 4 + 4))
    assert Rates.read(twice.write(), "twice") == twice


def test_scenes_that_stood_before_do_not_make_a_rate_cheaper() -> None:
    again = rates.updated(rates.packaged(), [record(cpu_s=20), record(cpu_s=0.1, rasters=0)], None, "again")
    assert again.amounts("acquire", 120, 1)["cpu_s"] == pytest.approx(10)


def test_a_run_against_a_server_does_not_make_networks_in_the_process_free() -> None:
    shipped = rates.packaged()
    inside = shipped.amounts("acquire", 120, 4)["network_cpu_s"]
    found = [record(cpu_s=2, network_px=1_000_000)] * 2
    after = rates.updated(shipped, found, None, "served").amounts("acquire", 120, 4)
    assert after["network_cpu_s"] == pytest.approx(inside, rel=1e-3)
    assert inside < after["cpu_s"] < inside + 4


def test_numbers_of_scenes_are_corrected_by_what_runs_found() -> None:
    check = rates.SceneCheck(
        catalog="earth-search",
        tiles=3000,
        modelled=Scenes(10, 4, 5, 8, 9).to_json(),
        found=Scenes(20, 2, 5, 4, 9).to_json(),
    )
    known = rates.packaged().model_copy(update={"scenes": check})

    def factors(catalog: str, *, searched: bool) -> list[float]:
        return list(known.correction(catalog, searched=searched).numbers())

    assert factors("earth-search", searched=False) == pytest.approx([2, 0.5, 1, 0.5, 1], rel=0.01)
    assert factors("earth-search", searched=True) == pytest.approx([1, 0.5, 1, 0.5, 1], rel=0.01)
    assert factors("cdse", searched=False) == pytest.approx([1, 0.5, 1, 0.5, 1], rel=0.01)


def test_one_tile_says_less_of_the_next_than_many() -> None:
    modelled, found = Scenes(10, 4, 5, 8, 9).to_json(), Scenes(20, 4, 5, 8, 9).to_json()
    one, many = (
        rates.SceneCheck(catalog="any", tiles=tiles, modelled=modelled, found=found).factor().candidates
        for tiles in (1, 100)
    )
    assert one == pytest.approx(1.25)  # (20 + 3 * 10) / (10 + 3 * 10)
    assert 1.9 < many < 2


def test_every_step_has_a_shipped_rate_at_a_coarse_and_a_fine_resolution() -> None:
    for step in work_units.WORK:
        measured = {one.resolution for one in rates.packaged().rates if one.step == step}
        assert 120 in measured
        assert min(measured) <= 20
        assert all(one.packaged for one in rates.packaged().rates)


# comparison


def test_a_comparison_counts_only_steps_that_ran() -> None:
    found = [record(cpu_s=10, facts={"scenes": 2, "series": 0})]
    lines = comparison.compare(Scenes(4, 2, 2, 3, 3), {"acquire": Took(cpu_s=12), "blend": Took(cpu_s=99)}, found)
    by_name = {one.what: one for one in lines}
    assert by_name["processor time"].off == pytest.approx(0.2)
    assert by_name["processor time"].holds
    assert not by_name["scenes read"].holds  # 3 against 2
    assert by_name["candidates"].off is None


def test_a_stage_that_begins_knows_what_the_plan_said_of_it_and_of_what_follows() -> None:
    made = planned(8, ONE)
    wall = {one.step: one.wall_s for one in made.steps}
    ctx = RunContext(settings(), ())
    written = json.dumps(Planned(made, 0.004, region(8), prices.load(None)).to_json(ctx)).encode()
    plan = plan_file.read(written, "run/forecast.json")
    scenes = Ahead.of(plan, ["select", "acquire", "composite"])
    assert scenes.tile_s == pytest.approx((wall["select"] + wall["acquire"] + wall["composite"]) / 8, abs=0.1)
    assert scenes.later_s == pytest.approx(
        sum(wall[one] for one in ("balance", "blend", "landcover", "publish")), abs=0.2
    )
    assert Ahead.of(plan, ["balance"]).tile_s == pytest.approx(wall["balance"], abs=0.1)  # once for all tiles
    assert Ahead.of(plan, ["publish"]).later_s == 0
    assert hourly(plan)["cpu_hour"] == pytest.approx(0.02 / 0.8)
    assert plan.total.compute == pytest.approx(made.compute, abs=1e-5)


def test_scenes_are_counted_apart_from_what_libraries_read(tmp_path: Path) -> None:
    """Threads that open a raster for the first time read PROJ's database: no byte of it is a scene's."""
    grid = grid_tile("33TWL").build_geobox(120)
    path = tmp_path / "B04.tif"
    numbers = np.random.default_rng(1).integers(1, 10_000, grid.shape, dtype=np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", width=grid.width, height=grid.height, count=1, dtype="uint16", crs=str(grid.crs),
        transform=grid.transform,
    ) as dst:  # fmt: skip
        dst.write(numbers, 1)
    before = counters.now()
    with ThreadPoolExecutor(4) as threads:
        parts = list(threads.map(lambda rows: BandFile(str(path), "B04").read(grid, rows), slabs(grid.height, 100)))
    np.testing.assert_array_equal(np.concatenate(parts), numbers)
    assert counters.since(before)["scenes_read"] == pytest.approx(numbers.nbytes, rel=0.05)


def test_nothing_to_compare_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"has no run/forecast.json.*: run it, or name --rates"):
        comparison.of_run(RunContext(settings(tmp_path / "no"), ()).store, ["33TWL"])
    (tmp_path / "run").mkdir()
    store = RunContext(settings(tmp_path), ()).store
    (tmp_path / "run/forecast.json").write_text('{"scenes": {}, "steps": []}')
    with pytest.raises(MissingInput, match=r"has no run records .* run it first"):
        comparison.of_run(store, ["33TWL"])
    (tmp_path / "run/forecast.json").write_text('{"scenes": 3}')
    with pytest.raises(Exception, match=r"run/forecast.json is no plan \(.*scenes.*delete it"):
        comparison.of_run(store, ["33TWL"])


# rubbish

PRICE_LINES = yaml.safe_load(prices.packaged_text())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cpu_core_hour": {"value": -1, "source": "x"}}, r"cpu_core_hour.value: .*greater than or equal to 0"),
        ({"gpu_hour": {"value": float("nan"), "source": "x"}}, r"gpu_hour.value: "),
        ({"gpu_hour": {"value": float("inf"), "source": "x"}}, r"gpu_hour.value: "),
        ({"gpu_hour": {"value": "3.50", "source": "x"}}, r"gpu_hour.value: .*valid number"),
        ({"gpu_hour": {"value": 3.5}}, r"gpu_hour.source: Field required"),
        ({"cpu_use": {"value": 0, "source": "x"}}, r"cpu_use.value: .*greater than 0"),
        ({"get_bytes": {"value": 0, "source": "x"}}, r"get_bytes.value: .*greater than 0"),
        ({"egress_part": {"value": 2, "source": "x"}}, r"egress_part.value: .*less than or equal to 1"),
        ({"cpu_hour": {"value": 1, "source": "x"}}, r"cpu_hour: Extra inputs"),
        ({"gpu_hour": 3.5}, r"gpu_hour: "),
        ({"currency": ""}, r"currency: "),
    ],
)
def test_a_price_that_makes_no_sense_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^price file mine.yaml: {words}"):
        prices.parse(yaml.safe_dump({**PRICE_LINES, **change}), "mine.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "is not valid YAML"),
        ("", "holds no mapping of prices"),
        ("- 1", "holds no mapping of prices"),
        ("currency: USD", "cpu_core_hour: Field required"),
    ],
)
def test_a_file_that_is_no_price_file_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prices.parse(text, "mine.yaml")


def test_a_missing_price_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cannot read the price file nowhere.yaml"):
        prices.load("nowhere.yaml")


def test_the_price_file_of_all_runs_is_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**PRICE_LINES, "currency": "CHF"}))
    monkeypatch.setenv("S2OPS_PRICES", str(tmp_path / "mine.yaml"))
    assert prices.load(None).currency == "CHF"


def test_damaged_rates_are_refused(tmp_path: Path) -> None:
    good = json.loads(rates.packaged().write())
    for name, broken, words in (
        ("cut", rates.packaged().write()[:400].decode(), "Invalid JSON"),
        ("steps", json.dumps({**good, "rates": good["rates"][:1]}), "no rate of "),
        ("negative", json.dumps({**good, "rates": [{**one, "cpu_s": -1} for one in good["rates"]]}), "cpu_s"),
        ("unknown", json.dumps({**good, "speed": 1}), "speed: Extra inputs"),
        ("nan", json.dumps({**good, "starts": [{**one, "cpu_s": float("nan")} for one in good["starts"]]}), "cpu_s"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(broken)
        with pytest.raises(ConfigError, match=rf"rates .*{name}.json cannot be used: .*{words}"):
            run_history.load_rates(str(path))
    with pytest.raises(ConfigError, match=r"there is no run/rates.json; give the `out` of a finished run"):
        run_history.load_rates(str(tmp_path))
    assert not (tmp_path / "run").exists()


def test_the_command_says_one_sentence_and_exits_2(tmp_path: Path) -> None:
    good = {"region": {"tiles": ["33TWL"]}, "dates": {"start": "2023-06-01", "end": "2023-06-30"}, "out": "o"}
    (tmp_path / "empty.yaml").write_text(yaml.safe_dump({**good, "region": {"tiles": []}}))
    (tmp_path / "prices.yaml").write_text(yaml.safe_dump({**PRICE_LINES, "gpu_hour": {"value": -2, "source": "x"}}))
    (tmp_path / "good.yaml").write_text(yaml.safe_dump(good))
    many = {**good, "region": {"tiles": [f"{number:05d}" for number in range(100_000)]}}
    (tmp_path / "many.yaml").write_text(json.dumps(many))
    for words, sentence in (
        ((tmp_path / "empty.yaml", "--dry-run"), "s2ops: region.tiles is empty"),
        ((tmp_path / "many.yaml", "--dry-run"), "s2ops: there is no Sentinel-2 tile '00000'"),
        ((tmp_path / "good.yaml", "--dry-run", "--prices", tmp_path / "prices.yaml"), "gpu_hour.value"),
    ):
        done = s2ops("plan", *words)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert len(done.stderr) < 300


# scale


def test_a_hundred_thousand_tiles_are_those_of_the_grid_each_once() -> None:
    names = [one.name for one in mgrs_tiles.list_all_tiles()] * 2
    assert len(list_region_tiles(settings(region={"tiles": names[:100_000]}).region)) == 56_686


PROBE = """
import resource, sys, rasterio
from s2ops.cli import main
def never(*_, **__): raise AssertionError("a plan opened a raster")
rasterio.open = never
sys.argv = ["s2ops", "plan", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
usage = resource.getrusage(resource.RUSAGE_SELF)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
# not ru_maxrss: a process begins with the peak of the one that started it
print("took", usage.ru_utime + usage.ru_stime, int(status["VmHWM"].split()[0]) / 1024)
"""


def probed(*words: object) -> tuple[str, float, float]:
    """Output, CPU seconds and MiB of a plan in a process of its own that cannot open a raster."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    _, cpu, mib = done.stdout.splitlines()[-1].split()
    return done.stdout, float(cpu), float(mib)


@pytest.mark.timeout(1000)  # a minute of processor time at most, however many share the processor
def test_the_land_surface_is_planned_within_a_minute_and_a_gibibyte_without_a_pixel(tmp_path: Path) -> None:
    to = tmp_path / "plan.json"
    words, cpu, mib = probed("examples/world.yaml", "--dry-run", "--out", tmp_path / "no", "--pods", 500, "--json", to)
    assert cpu < 60
    assert mib < 1024
    plan = json.loads(to.read_text())
    assert 16_000 < plan["region"]["tiles"] < 20_000
    assert plan["region"]["km2"] > 132e6
    assert {one["step"] for one in plan["steps"]} == set(work_units.WORK)
    assert sum(one["pods"] for one in plan["steps"] if one["step"] in WHOLE) == 3
    assert f"{plan['dearest_step']} eats most" in words
    assert not (tmp_path / "no").exists()


def test_a_dry_run_needs_no_store_and_says_that_it_asked_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def silent(*_: object) -> Never:
        raise StoreUnreachable("s3://a-bucket-to-come/run: no answer: run again")

    for call in ("exists", "get", "keys", "put"):
        monkeypatch.setattr(Store, call, silent)
    text = "region: {tiles: [33TWL]}\ndates: {start: 2023-06-01, end: 2023-08-31}\nout: s3://a-bucket-to-come/run\n"
    (tmp_path / "run.yaml").write_text(text)
    words = ["plan", str(tmp_path / "run.yaml"), "--dry-run", "--json", str(tmp_path / "plan.json")]
    app(words, standalone_mode=False)
    said = capsys.readouterr().err
    assert said == "s3://a-bucket-to-come/run does not answer: planned as if nothing were made there\n"
    assert json.loads((tmp_path / "plan.json").read_text())["region"]["tiles"] == 1
    words.remove("--dry-run")
    with pytest.raises(StoreUnreachable):
        app(words, standalone_mode=False)


@pytest.mark.timeout(1000)
def test_the_whole_grid_is_planned_too(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "region: {bbox: [-180, -90, 180, 90]}\ndates: {start: 2023-06-01, end: 2023-08-31}\n"
        f"out: {tmp_path / 'no'}\n"
    )
    to = tmp_path / "plan.json"
    words, _, mib = probed(tmp_path / "all.yaml", "--dry-run", "--pods", 1000, "--json", to)
    assert "56,686 tiles" in words
    # the Earth is 510.1 million km2, of which 5 lie south of 80 degrees or north of 84
    assert json.loads(to.read_text())["region"]["km2"] == pytest.approx(505e6, rel=0.005)
    assert mib < 1024
