"""What Prometheus finds on the cluster: the names that dashboards and alerts ask for, from pods that really ran."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

import dashboards
from tests.helpers.prometheus import start_prometheus

from .cluster import Own
from .conftest import Region
from .deployment import CHART, forwarded, triton_pods
from .kubectl import Kubectl, wait_until
from .scraping import scrape
from .services import CONTROLLER_METRICS

pytestmark = pytest.mark.cluster


def asked(prefix: str) -> set[str]:
    """The metrics of that prefix that the dashboards ask for."""
    return {name for text in dashboards.render_files().values() for name in re.findall(rf"\b{prefix}\w+", text)}


def test_triton_shows_what_the_dashboards_ask_for(release: Kubectl) -> None:
    with forwarded(release, f"pod/{triton_pods(release)[0]['metadata']['name']}", 8002) as address:
        text = scrape(address)
    on_a_cpu = {name for name in asked("nv_") if not name.startswith("nv_gpu_")}
    assert not {name for name in on_a_cpu if f"\n{name}{{" not in text and f"\n{name} " not in text}


def test_a_step_pod_shows_its_metrics_while_it_runs(region: Region) -> None:
    assert 's2ops_stage_tiles{step="scenes"} 1.0' in region.metrics
    assert 's2ops_stage_wanted{step="scenes"} 3.0' in region.metrics
    assert 's2ops_tiles_total{status="done",step="select"}' in region.metrics
    assert 's2ops_plan_tile_seconds{step="scenes"}' in region.metrics  # of the plan that the pod before it left


def test_argo_counts_the_pods_of_a_run(region: Region, mine: Own) -> None:
    """The controller is a process of this machine here. Restarted by a test it counts anew: the last stage is there."""
    text = scrape(f"127.0.0.1:{CONTROLLER_METRICS}")
    assert asked("argo_workflows_s2ops_") == {"argo_workflows_s2ops_pods_total"}
    line = re.compile(r"^argo_workflows_s2ops_pods_total\{(.*)\} [1-9]", re.MULTILINE)
    labels = [match.group(1) for match in line.finditer(text)]
    assert any('step="landcover"' in one and 'status="Succeeded"' in one for one in labels), labels


def test_every_panel_on_argo_shows_data_of_a_real_run(region: Region, mine: Own, tmp_path: Path) -> None:
    """Those that tests/telemetry/test_prometheus.py leaves to this one."""
    panels = [panel for text in dashboards.render_files().values() for panel in json.loads(text)["panels"]]
    queries = [one["expr"] for panel in panels for one in panel.get("targets", []) if "argo_workflows_" in one["expr"]]
    assert queries
    with start_prometheus(tmp_path, {"argo": CONTROLLER_METRICS}, CHART / "files/rules/s2ops.yaml") as server:
        for query in queries:
            filled = query.replace("$namespace", ".*")
            wait_until(f"{query} has data", partial(server.query, filled), limit_s=60)
