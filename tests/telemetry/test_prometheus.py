"""Metrics, dashboards and alerts, against a real Prometheus that has scraped a real run and a real Triton."""

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
from s2ops.inference.triton.server import Options
from s2ops.pipeline.steps import STAGES
from s2ops.telemetry import prometheus as meters
from tests.helpers.chain import ROW, command, copied, write_config
from tests.helpers.prometheus import Prometheus, program, prometheus, web
from tests.helpers.triton import free_ports, machine, starting

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/s2ops/files"
RULES = CHART / "rules/s2ops.yaml"
ELSEWHERE = {
    "nv_gpu_": "a GPU",
    "argo_workflows_": "Argo's controller: the cluster tests ask it",
}
"""Metrics that this machine does not have, and where they come from."""

MEANWHILE = {"$namespace": ".*", "$__range": "1h"}
pytestmark = pytest.mark.timeout(1200)  # the run is in the first test that needs it


def panels() -> Iterator[tuple[str, str]]:
    """(dashboard / panel, query) of every panel."""
    for name, text in dashboards.files().items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                yield f"{name} / {panel['title']} / {target['legendFormat']}", target["expr"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def _ended(words: Sequence[object]) -> int:
    """The exit code of a command; its messages go where pytest shows them."""
    return subprocess.run(command(*words), timeout=900, check=False).returncode


@pytest.fixture(scope="module")
def scraped(three_tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen two runs.

    The first meets a busy catalog, a server that is still loading and a broken scene; in the second a tile fails.
    There is a tile more than workers: while a stage makes the last one others are through, which panels need.
    """
    program("prometheus")
    folder = tmp_path_factory.mktemp("metrics")
    catalog = copied(three_tiles.parent, folder / "world")
    broken = next(catalog.parent.glob("sentinel-2-l2a/*32TQS_20230622*/B08.tif"))
    broken.write_bytes(broken.read_bytes()[:5000])
    (port,) = free_ports(1)
    with machine(Options()) as triton, web(catalog.parent, refusals=2) as url:
        targets = {"run": port, "triton": triton.options.metrics_port}
        config = write_config(
            folder / "run.yaml", f"{url}/{catalog.name}", folder / "out", ROW, "max_scenes: 2\n", looks=1
        )
        words = ["run", config, "--segmenter", triton.url, "--workers", "2", "--metrics-port", port]
        with prometheus(folder, targets, RULES) as server, starting(triton):
            assert _ended(words) == 0
            for path in folder.glob("out/scenes/33TUM/*A.tif"):
                path.write_bytes(path.read_bytes()[:5000])
            (folder / "out/composite/33TUM/item.json").unlink()
            assert _ended(words) == 2
            yield server


def here(query: str) -> bool:
    return "or vector(0)" in query or not any(name in query for name in ELSEWHERE)


def filled(query: str) -> str:
    """The query with Grafana's variables replaced."""
    for name, value in MEANWHILE.items():
        query = query.replace(name, value)
    return query


def data(server: Prometheus, query: str) -> list[dict[str, Any]]:
    """What the query gave most of late: gauges end with their run, and what is not a number is nothing.

    A panel that asks what was true every 10 s asks every 500 ms: the stages of a small run are through in seconds.
    """
    query = query.replace("[30m:10s]", f"[{server.age()}s:500ms]")
    found = server.ask(f"max_over_time(({query})[{server.age()}s:250ms])")
    return [one for one in found if isfinite(float(one["value"][1]))]


@pytest.mark.parametrize(("panel", "query"), [pytest.param(*one, id=one[0]) for one in panels() if here(one[1])])
def test_every_panel_shows_data_of_a_real_run(panel: str, query: str, scraped: Prometheus) -> None:
    found = data(scraped, filled(query))
    assert found, f"{panel}: {query}"
    assert all("$" not in json.dumps(one["metric"]) for one in found)


def test_panels_whose_metrics_are_elsewhere_are_few_and_said() -> None:
    titles = {panel.split(" / ")[1] for panel, query in panels() if not here(query)}
    assert titles == {"GPU at work", "GPU memory", "GPU power", "Pods"}


@pytest.mark.parametrize("alert", [one for one in alerts() if here(one["expr"])], ids=lambda one: one["alert"])
def test_every_alert_looks_at_data_of_a_real_run(alert: dict[str, Any], scraped: Prometheus) -> None:
    """Its expression without the thresholds, and without what silences it, has a value."""
    watched = alert["expr"].partition("unless")[0]
    watched = re.sub(r"> [\d.]+( \* 1024 \^ 3)?", ">= 0", watched)
    assert data(scraped, watched), watched


def test_a_failed_tile_raises_its_alert_and_a_run_that_is_through_no_other(scraped: Prometheus) -> None:
    states = {rule["name"]: rule for rule in scraped.rules() if rule["type"] == "alerting"}
    assert all(rule["health"] == "ok" for rule in states.values())
    firing = {(name, one["labels"].get("step")) for name, rule in states.items() for one in rule["alerts"]}
    assert ("S2opsTilesFailed", "composite") in firing
    assert "S2opsRunStalled" not in {name for name, _ in firing}


def test_counts_of_all_processes_are_what_the_run_did(scraped: Prometheus) -> None:
    made = scraped.ask('max_over_time((sum by (step) (s2ops_tiles_total{status=~"done|empty"}))[30m:1s])')
    whole_run, tiles = dict.fromkeys(("plan", "balance", "publish"), 1.0), len(ROW)
    assert {one["metric"]["step"]: float(one["value"][1]) for one in made} == whole_run | dict.fromkeys(
        ("select", "acquire", "composite", "blend", "landcover"), float(tiles)
    )


def test_the_price_shown_is_that_of_the_plan_which_the_run_left(scraped: Prometheus) -> None:
    plan = json.loads((scraped.folder / "out/run/forecast.json").read_text())
    found = {one["metric"]["kind"]: float(one["value"][1]) for one in data(scraped, "max by (kind) (s2ops_price)")}
    lines = {name: one["value"] for name, one in plan["assumptions"].items()}
    assert found == pytest.approx(
        {
            "plan": plan["total"]["compute"],
            "cpu_hour": lines["cpu_core_hour"] / lines["cpu_use"],
            "gpu_hour": lines["gpu_hour"],
        }
    )


@pytest.mark.parametrize("panel", ["Run ends in", "Run ends in, all pods"])
def test_the_end_of_the_run_is_what_the_plan_has_left_at_the_speed_seen(panel: str, tmp_path: Path) -> None:
    """After 400 s, 20 of 100 tiles are through, of 10 s each by the plan, and 500 s are to follow: half its speed."""
    [query] = [one for name, one in panels() if f"/ {panel} /" in name]
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
                "expr": filled(query),
                "eval_time": "400s",
                "exp_samples": [{"labels": "{}", "value": (80 * 10 + 500) * 2}],
            }
        ],
    }
    (tmp_path / "story.yaml").write_text(yaml.safe_dump({"evaluation_interval": "10s", "tests": [story]}))
    done = subprocess.run(
        [program("promtool"), "test", "rules", tmp_path / "story.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", alerts(), ids=lambda one: one["alert"])
def test_every_alert_has_a_runbook_page_that_names_it(rule: dict[str, Any]) -> None:
    name = rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/")
    page = (ROOT / "docs/operations/runbooks" / name).read_text()
    assert page.startswith(f"# {rule['alert']}\n")
    assert f"[{rule['alert']}]({name})" in (ROOT / "docs/operations/runbooks/README.md").read_text()


def test_no_runbook_page_is_left_over() -> None:
    pages = {path.name for path in (ROOT / "docs/operations/runbooks").glob("*.md")} - {"README.md"}
    assert pages == {rule["annotations"]["runbook_url"].removeprefix("RUNBOOKS/") for rule in alerts()}


def test_alerts_fire_on_their_story_and_not_on_its_opposite() -> None:
    done = subprocess.run(
        [program("promtool"), "test", "rules", ROOT / "tests/data/prometheus_rules.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = {test["alertname"] for story in _stories() for test in story["alert_rule_test"]}
    assert told == {rule["alert"] for rule in alerts()}


def _stories() -> list[dict[str, Any]]:
    tests: list[dict[str, Any]] = yaml.safe_load((ROOT / "tests/data/prometheus_rules.yaml").read_text())["tests"]
    return tests


def test_the_committed_dashboards_are_those_of_the_code() -> None:
    committed = {path.name: path.read_text() for path in (CHART / "dashboards").glob("*.json")}
    assert committed == dashboards.files()


def test_the_documented_metrics_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/write_metrics_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_panels_and_alerts_ask_only_for_metrics_that_exist() -> None:
    """Of ours; Triton's and Argo's are not ours to list."""
    page = (ROOT / "docs/reference/metrics.md").read_text()
    asked = {name for _, query in panels() for name in re.findall(r"\bs2ops_\w+", query)}
    asked |= {name for rule in alerts() for name in re.findall(r"\bs2ops_\w+", rule["expr"])}
    for name in asked:
        assert f"`{re.sub('_(bucket|sum|count)$', '', name)}`" in page, name


def test_no_metric_can_grow_with_the_region() -> None:
    labels = {name for one in vars(meters).values() if hasattr(one, "_labelnames") for name in one._labelnames}
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


def test_every_step_of_the_chain_begins_at_zero() -> None:
    assert tuple(stage.name for stage in STAGES) == meters.STEPS
