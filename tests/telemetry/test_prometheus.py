"""Metrics, dashboards and alerts, tested with a real Prometheus that scrapes a real run and a real Triton."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import yaml

import dashboards
from s2ops.inference.triton.server import ServerOptions
from s2ops.pipeline.steps import STEPS
from s2ops.results import StepName
from s2ops.telemetry import prometheus as metrics
from tests.helpers.chain import TILE_ROW, build_command, copy_world, write_config
from tests.helpers.prometheus import Prometheus, find_program, serve_folder, start_prometheus
from tests.helpers.triton import find_free_ports, open_server_host, start_loading_server

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/s2ops/files"
RULES = CHART / "rules/s2ops.yaml"
METRICS_OF_OTHER_TESTS = {
    "nv_gpu_": "a GPU",
    "argo_workflows_": "Argo's controller: the cluster tests query it",
}
"""Prefixes of metrics that this machine does not have, and their sources."""

GRAFANA_VARIABLES = {"$namespace": ".*", "$__range": "1h"}
pytestmark = pytest.mark.timeout(1200)  # the run is in the first test that needs it


def list_panels() -> Iterator[tuple[str, str]]:
    """List (dashboard / panel, query) of every panel."""
    for name, text in dashboards.render_files().items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                yield f"{name} / {panel['title']} / {target['legendFormat']}", target["expr"]


def list_alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def run_command(words: Sequence[object], log: Path) -> int:
    """Run a command, append its stderr to a file, and return its exit code."""
    with log.open("a") as file:
        return subprocess.run(build_command(*words), timeout=900, check=False, stderr=file).returncode


@pytest.fixture(scope="module")
def scraped(three_tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus that has scraped two runs.

    The first has a busy catalog, a server that is still loading and a broken scene; in the second a tile fails.
    There is one tile more than workers: panels need a time when some tiles of a stage are done and others are not.
    """
    find_program("prometheus")
    folder = tmp_path_factory.mktemp("metrics")
    catalog = copy_world(three_tiles.parent, folder / "world")
    broken = next(catalog.parent.glob("sentinel-2-l2a/*32TQS_20230622*/B08.tif"))
    broken.write_bytes(broken.read_bytes()[:5000])
    (port,) = find_free_ports(1)
    with open_server_host(ServerOptions()) as triton, serve_folder(catalog.parent, refusals=2) as url:
        targets = {"run": port, "triton": triton.options.metrics_port}
        config = write_config(
            folder / "run.yaml", f"{url}/{catalog.name}", folder / "out", TILE_ROW, "max_scenes: 2\n", max_dates=1
        )
        words = ["run", config, "--segmenter", triton.url, "--workers", "2", "--metrics-port", port]
        words += ["--log-format", "json"]
        with start_prometheus(folder, targets, RULES) as server, start_loading_server(triton):
            assert run_command(words, folder / "run.log") == 0, (folder / "run.log").read_text()
            for path in folder.glob("out/scenes/33TUM/*A.tif"):
                path.write_bytes(path.read_bytes()[:5000])
            (folder / "out/composite/33TUM/item.json").unlink()
            assert run_command(words, folder / "run.log") == 2, (folder / "run.log").read_text()
            yield server


def is_tested_here(query: str) -> bool:
    return "or vector(0)" in query or not any(name in query for name in METRICS_OF_OTHER_TESTS)


def fill_variables(query: str) -> str:
    """Replace Grafana's variables in a query."""
    for name, value in GRAFANA_VARIABLES.items():
        query = query.replace(name, value)
    return query


def find_largest_values(server: Prometheus, query: str) -> list[dict[str, Any]]:
    """Find the largest finite values of a query over the server's lifetime: gauges end with their run.

    Subqueries of 10 s become subqueries of 500 ms: the stages of a small run take seconds.
    """
    query = query.replace("[30m:10s]", f"[{server.age_s}s:500ms]")
    found = server.query(f"max_over_time(({query})[{server.age_s}s:250ms])")
    return [one for one in found if isfinite(float(one["value"][1]))]


@pytest.mark.parametrize(
    ("panel", "query"), [pytest.param(*one, id=one[0]) for one in list_panels() if is_tested_here(one[1])]
)
def test_panels_show_data_of_a_real_run(panel: str, query: str, scraped: Prometheus) -> None:
    found = find_largest_values(scraped, fill_variables(query))
    assert found, f"{panel}: {query}"
    assert all("$" not in json.dumps(one["metric"]) for one in found)


def test_panels_without_data_here_are_those_of_gpu_and_cluster() -> None:
    titles = {panel.split(" / ")[1] for panel, query in list_panels() if not is_tested_here(query)}
    assert titles == {"GPU at work", "GPU memory", "GPU power", "Pods"}


@pytest.mark.parametrize(
    "alert", [one for one in list_alerts() if is_tested_here(one["expr"])], ids=lambda one: one["alert"]
)
def test_alerts_read_data_of_a_real_run(alert: dict[str, Any], scraped: Prometheus) -> None:
    """The expression without thresholds and without its `unless` part has a value."""
    watched = alert["expr"].partition("unless")[0]
    watched = re.sub(r"> [\d.]+( \* 1024 \^ 3)?", ">= 0", watched)
    assert find_largest_values(scraped, watched), watched


def test_alerts_fire_for_a_failed_tile_and_not_for_a_finished_run(scraped: Prometheus) -> None:
    states = {rule["name"]: rule for rule in scraped.list_rules() if rule["type"] == "alerting"}
    assert all(rule["health"] == "ok" for rule in states.values())
    firing = {(name, one["labels"].get("step")) for name, rule in states.items() for one in rule["alerts"]}
    assert ("S2opsTilesFailed", "composite") in firing
    assert "S2opsRunStalled" not in {name for name, _ in firing}


def test_tile_counts_of_all_processes_equal_the_run(scraped: Prometheus) -> None:
    made = scraped.query('max_over_time((sum by (step) (s2ops_tiles_total{status=~"done|empty"}))[30m:1s])')
    whole_run, tiles = dict.fromkeys(("plan", "balance", "publish"), 1.0), len(TILE_ROW)
    assert {one["metric"]["step"]: float(one["value"][1]) for one in made} == whole_run | dict.fromkeys(
        ("select", "acquire", "composite", "blend", "landcover"), float(tiles)
    )


def test_logs_of_worker_processes_are_json_lines_with_fields(scraped: Prometheus) -> None:
    events = [json.loads(line) for line in (scraped.folder / "run.log").read_text().splitlines() if line[0] == "{"]
    left_out = [one for one in events if one["event"] == "scene left out" and one.get("step") == "acquire"]
    assert {(one["scene"][:18], one["tile"]) for one in left_out} == {("S2A_32TQS_20230622", "32TQS")}
    assert all("Cannot read" in one["reason"] for one in left_out)
    retries = [one for one in events if one["event"] == "catalog request retried"]
    assert {one["reason"] for one in retries} == {"503"}


def test_price_equals_the_plan_of_the_run(scraped: Prometheus) -> None:
    plan = json.loads((scraped.folder / "out/run/forecast.json").read_text())
    found = {
        one["metric"]["kind"]: float(one["value"][1])
        for one in find_largest_values(scraped, "max by (kind) (s2ops_price)")
    }
    lines = {name: one["value"] for name, one in plan["assumptions"].items()}
    assert found == pytest.approx(
        {
            "plan": plan["total"]["compute"],
            "cpu_hour": lines["cpu_core_hour"] / lines["cpu_use"],
            "gpu_hour": lines["gpu_hour"],
        }
    )


@pytest.mark.parametrize("panel", ["Run ends in", "Run ends in, all pods"])
def test_panel_run_ends_in_is_the_remaining_plan_at_the_measured_speed(panel: str, tmp_path: Path) -> None:
    """After 400 s, 20 of 100 tiles of 10 planned seconds are finished (half the planned speed); 500 s follow."""
    [query] = [one for name, one in list_panels() if f"/ {panel} /" in name]
    series = {
        's2ops_stage_todo{step="acquire"}': "100-0.5x60",
        's2ops_stage_wanted{step="acquire"}': "100x60",
        's2ops_stage_through_total{step="acquire"}': "0+0.5x60",
        's2ops_stage_through_total{step="landcover"}': "0x60",
        's2ops_plan_tile_seconds{step="acquire"}': "10x60",
        's2ops_plan_later_seconds{step="acquire"}': "500x60",
    }
    story = {
        "interval": "10s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": fill_variables(query),
                "eval_time": "400s",
                "exp_samples": [{"labels": "{}", "value": (80 * 10 + 500) * 2}],
            }
        ],
    }
    (tmp_path / "story.yaml").write_text(yaml.safe_dump({"evaluation_interval": "10s", "tests": [story]}))
    done = subprocess.run(
        [find_program("promtool"), "test", "rules", tmp_path / "story.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", list_alerts(), ids=lambda one: one["alert"])
def test_alerts_have_a_runbook_page_that_names_them(rule: dict[str, Any]) -> None:
    name = rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/")
    page = (ROOT / "docs/operations/runbooks" / name).read_text()
    assert page.startswith(f"# {rule['alert']}\n")
    assert f"[{rule['alert']}]({name})" in (ROOT / "docs/operations/runbooks/README.md").read_text()


def test_runbook_pages_belong_to_alerts() -> None:
    pages = {path.name for path in (ROOT / "docs/operations/runbooks").glob("*.md")} - {"README.md"}
    assert pages == {rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/") for rule in list_alerts()}


def test_alerts_fire_in_their_situation_and_not_in_the_opposite() -> None:
    done = subprocess.run(
        [find_program("promtool"), "test", "rules", ROOT / "tests/data/prometheus_rules.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = {test["alertname"] for story in _load_stories() for test in story["alert_rule_test"]}
    assert told == {rule["alert"] for rule in list_alerts()}


def _load_stories() -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests/data/prometheus_rules.yaml").read_text())["tests"]
    return tests


def test_dashboards_equal_the_committed_files() -> None:
    committed = {path.name: path.read_text() for path in (CHART / "dashboards").glob("*.json")}
    assert committed == dashboards.render_files()


def test_metrics_equal_the_documented_ones() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/write_metrics_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_panels_and_alerts_query_only_existing_metrics() -> None:
    """Check the metrics of s2ops only: those of Triton and Argo are not documented here."""
    page = (ROOT / "docs/reference/metrics.md").read_text()
    asked = {name for _, query in list_panels() for name in re.findall(r"\bs2ops_\w+", query)}
    asked |= {name for rule in list_alerts() for name in re.findall(r"\bs2ops_\w+", rule["expr"])}
    for name in asked:
        assert f"`{re.sub('_(bucket|sum|count)$', '', name)}`" in page, name


def test_metric_labels_do_not_grow_with_the_region() -> None:
    labels = {name for one in vars(metrics).values() if hasattr(one, "_labelnames") for name in one._labelnames}
    assert labels == {
        "step",
        "status",
        "reason",
        "state",
        "when",
        "class",
        "source",
        "method",
        "kind",
        "door",
        "network",
    }


def test_metrics_of_every_step_begin_at_zero() -> None:
    assert [step.name for step in STEPS] == list(StepName)
    for step in StepName:
        assert (step, "failed") in metrics.TILES._metrics
