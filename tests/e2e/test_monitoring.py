"""Cluster tests of monitoring: metrics that dashboards and alerts query, exported by real pods."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

import dashboards
from tests.helpers.prometheus import start_prometheus

from .cluster import OwnCluster
from .conftest import Region
from .deployment import CHART, forward_port, list_triton_pods
from .kubectl import Kubectl, wait_until
from .scraping import fetch_metrics
from .services import CONTROLLER_METRICS

pytestmark = pytest.mark.cluster


def find_queried_metrics(prefix: str) -> set[str]:
    """Find the metrics with a prefix that the dashboards query."""
    return {name for text in dashboards.render_files().values() for name in re.findall(rf"\b{prefix}\w+", text)}


def test_triton_exports_every_metric_that_dashboards_query(release: Kubectl) -> None:
    with forward_port(release, f"pod/{list_triton_pods(release)[0]['metadata']['name']}", 8002) as address:
        text = fetch_metrics(address)
    on_a_cpu = {name for name in find_queried_metrics("nv_") if not name.startswith("nv_gpu_")}
    assert not {name for name in on_a_cpu if f"\n{name}{{" not in text and f"\n{name} " not in text}


def test_step_pod_exports_its_metrics_while_it_runs(region: Region) -> None:
    assert 's2ops_stage_tiles{step="scenes"} 1.0' in region.metrics
    assert 's2ops_stage_wanted{step="scenes"} 3.0' in region.metrics
    assert 's2ops_tiles_total{status="done",step="select"}' in region.metrics
    assert 's2ops_plan_tile_seconds{step="scenes"}' in region.metrics  # from the plan that the previous pod wrote


def test_argo_counts_the_pods_of_a_run(region: Region, stoppable_cluster: OwnCluster) -> None:
    """The controller is a process of this machine. A restart resets its counters, so the last stage is checked."""
    text = fetch_metrics(f"127.0.0.1:{CONTROLLER_METRICS}")
    assert find_queried_metrics("argo_workflows_s2ops_") == {"argo_workflows_s2ops_pods_total"}
    line = re.compile(r"^argo_workflows_s2ops_pods_total\{(.*)\} [1-9]", re.MULTILINE)
    labels = [match.group(1) for match in line.finditer(text)]
    assert any('step="landcover"' in one and 'status="Succeeded"' in one for one in labels), labels


def test_argo_panels_show_data_of_a_real_run(region: Region, stoppable_cluster: OwnCluster, tmp_path: Path) -> None:
    """Panels that tests/telemetry/test_prometheus.py leaves out, because they need a real Argo."""
    panels = [panel for text in dashboards.render_files().values() for panel in json.loads(text)["panels"]]
    queries = [one["expr"] for panel in panels for one in panel.get("targets", []) if "argo_workflows_" in one["expr"]]
    assert queries
    with start_prometheus(tmp_path, {"argo": CONTROLLER_METRICS}, CHART / "files/rules/s2ops.yaml") as server:
        for query in queries:
            filled = query.replace("$namespace", ".*")
            wait_until(f"{query} has data", partial(server.query, filled), limit_s=60)
