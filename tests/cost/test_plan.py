"""Cost estimate of a run: arithmetic, rates, scene counts, rejected input, and scale (all land without pixels)."""

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
from s2ops.cost.acquisition_model import (
    ExpectedScene,
    compute_orbit_count,
    compute_sun_elevation,
    interpolate_mean_cloud,
    predict_scenes,
)
from s2ops.cost.estimate import WHOLE_RUN_STEPS, Capacity, CostEstimate, ResourceAmounts, estimate_cost
from s2ops.cost.plan import RunPlan
from s2ops.cost.plan_metrics import RemainingTime, compute_hourly_prices
from s2ops.cost.rates import Rates
from s2ops.cost.region_summary import RegionSummary, sample_tiles
from s2ops.cost.scene_model import SceneCounts, predict_scene_counts
from s2ops.errors import ConfigError, MissingInput, StoreUnreachable
from s2ops.geo import mgrs_tiles
from s2ops.geo.mgrs_tiles import parse_tile as grid_tile
from s2ops.geo.region import list_region_tiles
from s2ops.models.registry import LANDCOVER_NETWORKS
from s2ops.raster.reader import BandFile, split_rows
from s2ops.run.context import RunContext
from s2ops.run.run_record import RunRecord
from s2ops.runtime.jit import compile_kernel
from s2ops.storage.object_store import Store
from s2ops.telemetry import counters
from tests.helpers.chain import run_s2ops

ROOT = Path(__file__).parents[2]
PODS = Capacity(pods=10, cores=2, group=4, local=False)
ONE = Capacity(pods=1, cores=1)
SCENES = SceneCounts(20, 3, 5, 8, 9)


def make_config(out: Path | str = "nowhere", **changes: object) -> config.RunConfig:
    data = {"region": {"tiles": ["33TWL", "33TWM"]}, "dates": {"start": "2023-06-01", "end": "2023-08-31"}}
    return config.RunConfig.model_validate({**data, "out": str(out), "resolution": 120, **changes})


def make_region(count: int, scenes: SceneCounts = SCENES) -> RegionSummary:
    tiles = mgrs_tiles.list_all_tiles()[20_000 : 20_000 + count]
    edges = {tile.name: 4 for tile in tiles}
    return RegionSummary(tiles, edges, 1e4 * count, {tile.name: scenes for tile in tiles}, "model", 0)


def estimate(
    count: int = 8, capacity: Capacity = PODS, done: dict[str, frozenset[str]] | None = None, **changes: object
) -> CostEstimate:
    paid = changes.pop("prices", prices.load_prices(None))
    assert isinstance(paid, prices.Prices)
    return estimate_cost(
        make_config(**changes), make_region(count), rates.load_packaged_rates(), paid, capacity, done or {}
    )


def make_record(step: str = "acquire", *, first: bool = False, cpu_s: float = 10.0, **changes: object) -> RunRecord:
    data: dict[str, object] = {
        "step": step, "tile": "33TWL", "status": "done", "facts": {}, "resolution": 120, "threads": 1, "first": first,
        "wall_s": 1, "cpu_s": cpu_s, "peak_rss_mib": 100, "read_bytes": 1000, "written_bytes": 100, "requests": {},
        "rasters": 4, "network_cpu_s": 0, "network_px": 0,
    }  # fmt: skip
    return RunRecord.model_validate({**data, **changes})


# arithmetic


def test_estimate_is_proportional_to_the_tiles_without_startup_costs() -> None:
    begun = rates.load_packaged_rates().model_copy(update={"starts": ()})
    four, eight = (
        estimate_cost(make_config(), make_region(count), begun, prices.load_prices(None), ONE, {}) for count in (4, 8)
    )
    for one, other in zip(four.steps, eight.steps, strict=True):
        if one.step != "publish":  # the report maps have the same size for every region
            assert other.amounts.cpu_s == pytest.approx(2 * one.amounts.cpu_s), one.step


def test_estimate_excludes_work_that_is_done() -> None:
    whole = estimate()
    names = frozenset(tile.name for tile in make_region(8).tiles)
    left = estimate(done=dict.fromkeys(("select", "acquire", "composite"), names))
    assert [one.tiles for one in left.steps if one.step in {"select", "acquire", "composite"}] == [0, 0, 0]
    assert left.total_price < whole.total_price
    done = estimate(done=dict.fromkeys(("select", "acquire", "composite", "blend", "landcover"), names))
    assert done.total_price == 0
    assert done.amounts == ResourceAmounts()


def test_estimate_totals_are_the_sums_of_its_steps() -> None:
    made = estimate()
    assert made.total_price == pytest.approx(sum(value for one in made.steps for value in one.price.values()))
    assert made.compute_price == pytest.approx(sum(one.compute_price for one in made.steps))
    assert made.most_expensive_step.compute_price == max(one.compute_price for one in made.steps)


def test_estimate_with_more_pods_has_less_wall_time_and_equal_processor_time() -> None:
    few, many = estimate(64, replace(PODS, pods=4)), estimate(64, replace(PODS, pods=16))
    assert many.wall_s < few.wall_s
    assert many.amounts.cpu_s == pytest.approx(few.amounts.cpu_s)


def test_estimate_with_an_inference_server_moves_processor_time_to_the_gpu() -> None:
    inside, served = estimate(), estimate(segmenter="triton://somewhere:8001")
    assert inside.amounts.gpu_s == 0
    assert served.amounts.gpu_s > 0
    assert served.amounts.cpu_s < inside.amounts.cpu_s / 2


@pytest.mark.parametrize("segmenter", ["onnx", "triton://somewhere:8001"])
def test_estimate_prices_each_choice_of_land_cover_networks(segmenter: str) -> None:
    made = {
        choice: estimate(segmenter=segmenter, resolution=10, landcover={"networks": choice})
        for choice in LANDCOVER_NETWORKS
    }
    prices_of = {choice: one.get_price("landcover") for choice, one in made.items()}
    assert prices_of["shared"] < prices_of["separate"] < prices_of["both"]
    for step in work_units.STEP_EFFORT:
        if step != "landcover":
            assert len({one.get_price(step) for one in made.values()}) == 1, step
    network_cpu_s = rates.load_packaged_rates().estimate_amounts("landcover", 10, 1)["network_cpu_s"]
    extra = made["both"].amounts.cpu_s - made["shared"].amounts.cpu_s
    if segmenter == "onnx":
        work = work_units.compute_work("landcover", 8, 8 * SCENES.dates)
        assert extra == pytest.approx((work_units.NETWORK_EFFORT["both"] - 1) * work * network_cpu_s)
    else:
        gpu = {choice: one.amounts.gpu_s for choice, one in made.items()}
        assert gpu["both"] - gpu["separate"] == pytest.approx(
            gpu["shared"] - estimate(segmenter=segmenter, resolution=10, landcover={"enabled": False}).amounts.gpu_s
        )


def test_estimate_with_server_rates_of_an_earlier_version_counts_each_separate_network() -> None:
    shipped = rates.load_packaged_rates()
    old = shipped.model_copy(update={"gpu": {name: one for name, one in shipped.gpu.items() if "-" not in name}})
    for known in (shipped, old):
        assert known.estimate_server_time("landcover", "shared", 204) == pytest.approx((204 * 0.012, 1.0))
    assert old.estimate_server_time("landcover", "separate", 204) == pytest.approx((204 * 0.036, 3.0))
    assert old.estimate_server_time("landcover", "both", 204) == pytest.approx((204 * 0.048, 4.0))
    assert shipped.estimate_server_time("landcover", "separate", 165) == pytest.approx((165 * 0.024, 1.0))
    assert shipped.estimate_server_time("blend", "shared", 1) is None


def test_estimate_grows_with_resolution_only_in_steps_that_read_pixels() -> None:
    steps = {res: {one.step: one.amounts.cpu_s for one in estimate(resolution=res).steps} for res in (10, 20, 60, 120)}
    for fine, coarse in ((10, 20), (20, 60), (60, 120)):
        assert steps[fine]["acquire"] > 3 * steps[coarse]["acquire"]
        assert steps[fine]["landcover"] > 3 * steps[coarse]["landcover"]
    assert steps[10]["select"] < 2 * steps[120]["select"]  # previews are 343 pixels wide at any resolution


def test_estimate_rises_with_each_price() -> None:
    text = yaml.safe_load(prices.read_packaged_text())
    base = estimate(segmenter="triton://somewhere:8001", resolution=10).total_price
    for name in prices.load_prices(None).get_lines():
        dearer = {**text, name: {**text[name], "value": text[name]["value"] * 2 or 0.5}}
        if name in {"cpu_use", "gpu_use", "get_bytes"}:  # a higher value makes the run cheaper
            dearer[name]["value"] = text[name]["value"] / 2
        if name == "egress_gb":
            dearer["egress_part"] = {"value": 1.0, "source": "a download"}
        paid = prices.parse_prices(yaml.safe_dump(dearer), "test")
        assert estimate(segmenter="triton://somewhere:8001", resolution=10, prices=paid).total_price > base, name


def test_run_history_finds_done_tiles_by_their_markers(tmp_path: Path) -> None:
    assert run_history.find_done_tiles(RunContext(make_config(tmp_path / "none"), ())) == {}
    assert not (tmp_path / "none").exists()  # the check creates no files
    for key in ("select/33TWL.json", "select/33TWM.json", "composite/33TWL/item.json", "mosaic/33TWL/item.json"):
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_text("{}")
    made = run_history.find_done_tiles(RunContext(make_config(tmp_path), ()))
    assert made["select"] == {"33TWL", "33TWM"}
    assert made["acquire"] == made["composite"] == made["blend"] == {"33TWL"}
    assert made["landcover"] == frozenset()


def test_tile_index_counts_the_same_neighbours_as_single_queries() -> None:
    tiles = mgrs_tiles.parse_tiles(["33TWL", "33TWM", "33TXL", "32TQS", "33TUM", "01WCV", "60WWE", "01WCU"])
    edges = mgrs_tiles.TileIndex(tiles).count_neighbours()
    assert edges == {tile.name: len(mgrs_tiles.find_neighbours(tile, tiles)) for tile in tiles}
    assert sum(edges.values()) > 0


def test_sample_tiles_spreads_over_the_list() -> None:
    tiles = mgrs_tiles.list_all_tiles()
    picked = [tiles.index(tile) for tile in sample_tiles(tiles, 5)]
    assert picked == sorted(set(picked))
    assert picked[0] < len(tiles) / 5
    assert picked[-1] > len(tiles) * 4 / 5
    assert sample_tiles(tiles[:3], 10) == list(tiles[:3])
    assert sample_tiles(tiles, 0) == []


# scenes


def test_scene_model_uses_one_clear_scene_and_more_cloudy_scenes() -> None:
    without = make_config(landcover={"enabled": False})
    assert predict_scene_counts([ExpectedScene(0, 0)] * 5, without).used == pytest.approx(1)
    cloudy = predict_scene_counts([ExpectedScene(0.6, 0)] * 12, without)
    assert cloudy.used > 5
    assert cloudy.dates == 0
    assert predict_scene_counts([], without) == SceneCounts()


def test_scene_model_reads_at_most_the_existing_scenes() -> None:
    for cloud in (0.0, 0.3, 0.9, 1.0):
        found = predict_scene_counts([ExpectedScene(cloud, 0.1)] * 4, make_config())
        assert found.used <= found.read <= 4


def test_acquisition_model_has_more_scenes_near_the_poles_and_none_in_polar_night() -> None:
    assert 1.2 < compute_orbit_count(0) < 1.7  # one or two ground tracks touch a tile at the equator
    assert compute_orbit_count(0) < compute_orbit_count(45) < compute_orbit_count(65)
    january = (date(2023, 1, 1), date(2023, 1, 31), 100.0)
    assert predict_scenes(75, *january) == ()
    assert len(predict_scenes(-40, *january)) > len(predict_scenes(0, *january)) > 0
    assert compute_sun_elevation(75, date(2023, 1, 15)) < 0 < compute_sun_elevation(75, date(2023, 6, 21))


def test_acquisition_model_has_fewer_candidates_with_more_cloud_or_a_lower_limit() -> None:
    summer = (date(2023, 6, 1), date(2023, 8, 31))
    assert interpolate_mean_cloud(5) > interpolate_mean_cloud(25)
    assert interpolate_mean_cloud(-25) == interpolate_mean_cloud(25)
    assert (
        len(predict_scenes(46, *summer, 20))
        < len(predict_scenes(46, *summer, 80))
        <= len(predict_scenes(46, *summer, 100))
    )
    assert all(one.cloud <= 0.2 + 1e-9 for one in predict_scenes(46, *summer, 20))


# rates


def test_rates_separate_the_startup_cost_from_the_work() -> None:
    found = [make_record(first=True, cpu_s=13), make_record(cpu_s=10), make_record(cpu_s=10)]
    new, starts = rates.compute_rates(found, None)
    assert starts[0].cpu_s == pytest.approx(3)
    assert new[0].cpu_s == pytest.approx(30)
    assert new[0].units == new[0].work == 6  # two rasters per scene


def test_rates_exclude_compile_time() -> None:
    new, starts = rates.compute_rates([make_record(first=True, cpu_s=19, compile_cpu_s=6), make_record(cpu_s=10)], None)
    assert starts[0].cpu_s == pytest.approx(3)
    assert new[0].cpu_s == pytest.approx(20)


def test_counters_count_compile_time_only_for_the_first_call() -> None:
    made: dict[str, Callable[[int], int]] = {}
    exec("def twice(value):\n    return value + value", made)  # not from a file, so it is not in the cache on disk
    twice = compile_kernel(made["twice"])
    before = counters.get_totals()
    assert twice(3) == 6
    spent = counters.compute_increase(before)["compile_cpu_s"]
    assert spent > 0
    before = counters.get_totals()
    assert twice(4) == 8
    assert "compile_cpu_s" not in counters.compute_increase(before)


def test_rates_of_a_run_replace_packaged_rates_and_outweigh_older_rates() -> None:
    shipped = rates.load_packaged_rates()
    once = rates.update_rates(shipped, [make_record(cpu_s=20), make_record(cpu_s=20)], None, "once")
    assert once.estimate_amounts("acquire", 120, 1)["cpu_s"] == pytest.approx(10)
    assert once.estimate_amounts("select", 120, 1) == shipped.estimate_amounts("select", 120, 1)
    twice = rates.update_rates(once, [make_record(cpu_s=40), make_record(cpu_s=40)], None, "twice")
    assert twice.estimate_amounts("acquire", 120, 1)["cpu_s"] == pytest.approx((0.5 * 40 + 80) / (0.5 * 4 + 4))
    assert Rates.read(twice.write(), "twice") == twice


def test_rates_are_not_reduced_by_scenes_that_existed_before() -> None:
    again = rates.update_rates(
        rates.load_packaged_rates(), [make_record(cpu_s=20), make_record(cpu_s=0.1, rasters=0)], None, "again"
    )
    assert again.estimate_amounts("acquire", 120, 1)["cpu_s"] == pytest.approx(10)


@pytest.mark.parametrize("choice", ["separate", "both"])
def test_rates_of_a_run_do_not_depend_on_its_land_cover_networks(choice: config.NetworkChoice) -> None:
    """A run with other networks than the shared one gives the rates of a run with the shared one."""
    facts: dict[str, float | str] = {"dates": 3}
    shared = make_record("landcover", cpu_s=12, network_cpu_s=10, network_px=1_000_000, facts=facts)
    effort, count = work_units.NETWORK_EFFORT[choice], len(LANDCOVER_NETWORKS[choice])
    other = make_record(
        "landcover", cpu_s=2 + 10 * effort, network_cpu_s=10 * effort, network_px=1_000_000 * count,
        facts=facts | {"networks": choice},
    )  # fmt: skip
    found = [
        rates.update_rates(rates.load_packaged_rates(), [record], None, "a run").estimate_amounts("landcover", 120, 3)
        for record in (shared, other)
    ]
    assert found[0] == pytest.approx(found[1])


def test_rates_of_a_run_with_a_server_keep_the_cost_of_networks_in_the_process() -> None:
    shipped = rates.load_packaged_rates()
    inside = shipped.estimate_amounts("acquire", 120, 4)["network_cpu_s"]
    found = [make_record(cpu_s=2, network_px=1_000_000)] * 2
    after = rates.update_rates(shipped, found, None, "served").estimate_amounts("acquire", 120, 4)
    assert after["network_cpu_s"] == pytest.approx(inside, rel=1e-3)
    assert inside < after["cpu_s"] < inside + 4


def test_rates_correct_scene_counts_by_the_counts_that_runs_found() -> None:
    check = rates.SceneCheck(
        catalog="earth-search",
        tiles=3000,
        modelled=SceneCounts(10, 4, 5, 8, 9).to_json(),
        found=SceneCounts(20, 2, 5, 4, 9).to_json(),
    )
    known = rates.load_packaged_rates().model_copy(update={"scenes": check})

    def compute_factors(catalog: str, *, searched: bool) -> list[float]:
        return list(known.compute_scene_correction(catalog, searched=searched).to_tuple())

    assert compute_factors("earth-search", searched=False) == pytest.approx([2, 0.5, 1, 0.5, 1], rel=0.01)
    assert compute_factors("earth-search", searched=True) == pytest.approx([1, 0.5, 1, 0.5, 1], rel=0.01)
    assert compute_factors("cdse", searched=False) == pytest.approx([1, 0.5, 1, 0.5, 1], rel=0.01)


def test_rates_correct_scene_counts_less_after_one_tile_than_after_many() -> None:
    modelled, found = SceneCounts(10, 4, 5, 8, 9).to_json(), SceneCounts(20, 4, 5, 8, 9).to_json()
    one, many = (
        rates.SceneCheck(catalog="any", tiles=tiles, modelled=modelled, found=found).compute_factor().candidates
        for tiles in (1, 100)
    )
    assert one == pytest.approx(1.25)  # (20 + 3 * 10) / (10 + 3 * 10)
    assert 1.9 < many < 2


def test_packaged_rates_contain_every_step_at_a_coarse_and_a_fine_resolution() -> None:
    for step in work_units.STEP_EFFORT:
        measured = {one.resolution for one in rates.load_packaged_rates().rates if one.step == step}
        assert 120 in measured
        assert min(measured) <= 20
        assert all(one.packaged for one in rates.load_packaged_rates().rates)


# comparison


def test_comparison_counts_only_steps_with_records() -> None:
    found = [make_record(cpu_s=10, facts={"scenes": 2, "series": 0})]
    lines = comparison.compare_amounts(
        SceneCounts(4, 2, 2, 3, 3), {"acquire": ResourceAmounts(cpu_s=12), "blend": ResourceAmounts(cpu_s=99)}, found
    )
    by_name = {one.what: one for one in lines}
    assert by_name["processor time"].relative_error == pytest.approx(0.2)
    assert by_name["processor time"].is_within_goal
    assert not by_name["scenes read"].is_within_goal  # 3 against 2
    assert by_name["candidates"].relative_error is None


def test_remaining_time_contains_the_stage_and_all_later_stages() -> None:
    made = estimate(8, ONE)
    wall = {one.step: one.wall_s for one in made.steps}
    ctx = RunContext(make_config(), ())
    written = json.dumps(RunPlan(made, 0.004, make_region(8), prices.load_prices(None), {}).to_json(ctx)).encode()
    plan = plan_file.parse_plan(written, "run/forecast.json")
    scenes = RemainingTime.from_plan(plan, ["select", "acquire", "composite"])
    assert scenes.tile_s == pytest.approx((wall["select"] + wall["acquire"] + wall["composite"]) / 8, abs=0.1)
    assert scenes.later_s == pytest.approx(
        sum(wall[one] for one in ("balance", "blend", "landcover", "publish")), abs=0.2
    )
    assert RemainingTime.from_plan(plan, ["balance"]).tile_s == pytest.approx(
        wall["balance"], abs=0.1
    )  # once for all tiles
    assert RemainingTime.from_plan(plan, ["publish"]).later_s == 0
    assert compute_hourly_prices(plan)["cpu_hour"] == pytest.approx(0.02 / 0.8)
    assert plan.total.compute == pytest.approx(made.compute_price, abs=1e-5)


def test_counters_count_scene_bytes_without_the_reads_of_libraries(tmp_path: Path) -> None:
    """Threads that open a raster for the first time read PROJ's database; these bytes do not belong to scenes."""
    grid = grid_tile("33TWL").build_geobox(120)
    path = tmp_path / "B04.tif"
    numbers = np.random.default_rng(1).integers(1, 10_000, grid.shape, dtype=np.uint16)
    with rasterio.open(
        path, "w", driver="GTiff", width=grid.width, height=grid.height, count=1, dtype="uint16", crs=str(grid.crs),
        transform=grid.transform,
    ) as dst:  # fmt: skip
        dst.write(numbers, 1)
    before = counters.get_totals()
    with ThreadPoolExecutor(4) as threads:
        parts = list(
            threads.map(lambda rows: BandFile(str(path), "B04").read(grid, rows), split_rows(grid.height, 100))
        )
    np.testing.assert_array_equal(np.concatenate(parts), numbers)
    assert counters.compute_increase(before)["scenes_read"] == pytest.approx(numbers.nbytes, rel=0.05)


def test_comparison_without_plan_or_records_raises(tmp_path: Path) -> None:
    with pytest.raises(MissingInput, match=r"has no run/forecast.json.*: run it, or give --rates"):
        comparison.compare_stored_plan(RunContext(make_config(tmp_path / "no"), ()).store, ["33TWL"])
    (tmp_path / "run").mkdir()
    store = RunContext(make_config(tmp_path), ()).store
    (tmp_path / "run/forecast.json").write_text('{"scenes": {}, "steps": []}')
    with pytest.raises(MissingInput, match=r"has no run records .* run it first"):
        comparison.compare_stored_plan(store, ["33TWL"])
    (tmp_path / "run/forecast.json").write_text('{"scenes": 3}')
    with pytest.raises(Exception, match=r"run/forecast.json is not a valid plan \(.*scenes.*delete it"):
        comparison.compare_stored_plan(store, ["33TWL"])


# invalid input

PRICE_LINES = yaml.safe_load(prices.read_packaged_text())


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
def test_price_file_with_an_invalid_line_names_the_line(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=rf"^price file mine.yaml: {words}"):
        prices.parse_prices(yaml.safe_dump({**PRICE_LINES, **change}), "mine.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "is not valid YAML"),
        ("", "does not contain a mapping of prices"),
        ("- 1", "does not contain a mapping of prices"),
        ("currency: USD", "cpu_core_hour: Field required"),
    ],
)
def test_price_file_with_other_content_is_rejected(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prices.parse_prices(text, "mine.yaml")


def test_price_file_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Cannot read the price file nowhere.yaml"):
        prices.load_prices("nowhere.yaml")


def test_price_file_is_read_from_the_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**PRICE_LINES, "currency": "CHF"}))
    monkeypatch.setenv("S2OPS_PRICES", str(tmp_path / "mine.yaml"))
    assert prices.load_prices(None).currency == "CHF"


def test_rates_that_are_damaged_are_rejected(tmp_path: Path) -> None:
    good = json.loads(rates.load_packaged_rates().write())
    for name, broken, words in (
        ("cut", rates.load_packaged_rates().write()[:400].decode(), "Invalid JSON"),
        ("steps", json.dumps({**good, "rates": good["rates"][:1]}), "no rate of "),
        ("negative", json.dumps({**good, "rates": [{**one, "cpu_s": -1} for one in good["rates"]]}), "cpu_s"),
        ("unknown", json.dumps({**good, "speed": 1}), "speed: Extra inputs"),
        ("nan", json.dumps({**good, "starts": [{**one, "cpu_s": float("nan")} for one in good["starts"]]}), "cpu_s"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(broken)
        with pytest.raises(ConfigError, match=rf"Rates .*{name}.json cannot be used: .*{words}"):
            run_history.load_rates(str(path))
    with pytest.raises(ConfigError, match=r"there is no run/rates.json; give the `out` of a finished run"):
        run_history.load_rates(str(tmp_path))
    assert not (tmp_path / "run").exists()


def test_plan_command_prints_one_error_line_and_exits_with_2(tmp_path: Path) -> None:
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
        done = run_s2ops("plan", *words)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert len(done.stderr) < 300


# scale


def test_region_of_100000_tile_names_has_each_tile_of_the_grid_once() -> None:
    names = [one.name for one in mgrs_tiles.list_all_tiles()] * 2
    assert len(list_region_tiles(make_config(region={"tiles": names[:100_000]}).region)) == 56_686


PROBE = """
import resource, sys, rasterio
from s2ops.cli import main
def fail(*_, **__): raise AssertionError("a plan opened a raster")
rasterio.open = fail
sys.argv = ["s2ops", "plan", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
usage = resource.getrusage(resource.RUSAGE_SELF)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
# not ru_maxrss: a process inherits the peak of its parent
print("took", usage.ru_utime + usage.ru_stime, int(status["VmHWM"].split()[0]) / 1024)
"""


def run_probe(*words: object) -> tuple[str, float, float]:
    """Run a plan in a separate process that cannot open rasters; return output, CPU seconds and MiB."""
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


@pytest.mark.timeout(1000)  # at most a minute of processor time, but the processor may be shared
def test_plan_of_all_land_takes_a_minute_and_a_gibibyte_without_pixels(tmp_path: Path) -> None:
    to = tmp_path / "plan.json"
    words, cpu, mib = run_probe(
        "examples/world.yaml", "--dry-run", "--out", tmp_path / "no", "--pods", 500, "--json", to
    )
    assert cpu < 60
    assert mib < 1024
    plan = json.loads(to.read_text())
    assert 16_000 < plan["region"]["tiles"] < 20_000
    assert plan["region"]["km2"] > 132e6
    assert {one["step"] for one in plan["steps"]} == set(work_units.STEP_EFFORT)
    assert sum(one["pods"] for one in plan["steps"] if one["step"] in WHOLE_RUN_STEPS) == 3
    assert f"most expensive step: {plan['dearest_step']}" in words
    assert not (tmp_path / "no").exists()


def test_plan_dry_run_works_with_an_unreachable_store_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def raise_unreachable(*_: object) -> Never:
        raise StoreUnreachable("s3://a-bucket-to-come/run: no answer: run again")

    for call in ("has_key", "get", "list_keys", "put"):
        monkeypatch.setattr(Store, call, raise_unreachable)
    text = "region: {tiles: [33TWL]}\ndates: {start: 2023-06-01, end: 2023-08-31}\nout: s3://a-bucket-to-come/run\n"
    (tmp_path / "run.yaml").write_text(text)
    words = ["plan", str(tmp_path / "run.yaml"), "--dry-run", "--json", str(tmp_path / "plan.json")]
    app(words, standalone_mode=False)
    said = capsys.readouterr().err
    assert said == "s3://a-bucket-to-come/run does not answer: planned as if it contained no output\n"
    assert json.loads((tmp_path / "plan.json").read_text())["region"]["tiles"] == 1
    words.remove("--dry-run")
    with pytest.raises(StoreUnreachable):
        app(words, standalone_mode=False)


@pytest.mark.timeout(1000)
def test_plan_of_the_whole_grid_works(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "region: {bbox: [-180, -90, 180, 90]}\ndates: {start: 2023-06-01, end: 2023-08-31}\n"
        f"out: {tmp_path / 'no'}\n"
    )
    to = tmp_path / "plan.json"
    words, _, mib = run_probe(tmp_path / "all.yaml", "--dry-run", "--pods", 1000, "--json", to)
    assert "56,686 tiles" in words
    # the Earth is 510.1 million km2, of which 5 lie south of 80 degrees or north of 84
    assert json.loads(to.read_text())["region"]["km2"] == pytest.approx(505e6, rel=0.005)
    assert mib < 1024
