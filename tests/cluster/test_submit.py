"""Submission: workflows sent through the Kubernetes API and an Argo server, and parameters rejected before sending."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from obstore.store import LocalStore
from typer.testing import CliRunner

from s2ops.cli.app import app
from s2ops.cluster.submit import (
    MAX_CONFIG_BYTES,
    build_config_text,
    build_workflow,
    parse_parameters,
    validate_parameters,
)
from s2ops.cluster.watch import list_failures
from s2ops.config import RunConfig, parse_config
from s2ops.errors import ConfigError, ModelError
from s2ops.models import registry
from s2ops.models.registry import PACKAGE_WEIGHTS
from tests.helpers.chain import run_s2ops
from workflows import chain

Json = dict[str, Any]
RUN = (
    "region: {tiles: [33TWL, 33TWM]}\ndates: {start: 2023-06-01, end: 2023-08-31}\n"
    "catalog: earth-search\nout: s3://bucket/run\n"
)
TEMPLATE = json.loads(json.dumps(chain.build_chain_template().to_dict()))


@dataclass
class FakeCluster:
    """Fake of the Kubernetes API and of an Argo server that records created workflows."""

    ends: list[str] = field(default_factory=lambda: ["Running", "Succeeded"])
    """Phases of the run, one per query; the last one is repeated."""
    created: list[Json] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        assert self.server is not None
        return self.server.server_port

    def build_run(self) -> Json:
        phase = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        nodes = {
            "a": {
                "id": "a",
                "type": "Retry",
                "children": ["b", "c"],
                "phase": phase,
                "name": "plan",
                "displayName": "plan",
            },
            "b": {
                "id": "b",
                "type": "Pod",
                "phase": "Failed",
                "name": "plan(0)",
                "displayName": "plan(0)",
                "message": "lost node",
            },
            "c": {
                "id": "c",
                "type": "Pod",
                "phase": phase,
                "name": "plan(1)",
                "displayName": "plan(1)",
                "message": "main: Error (exit code 2)",
            },
        }
        return {
            "metadata": {"name": "s2ops-chain-abcde"},
            "spec": {},
            "status": {"phase": phase, "progress": "1/7", "nodes": nodes},
        }

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Json]:
        self.seen.append(f"{method} {path}")
        place = path.partition("?")[0]
        if method == "POST":
            sent = json.loads(body)
            self.created.append(sent.get("workflow", sent))
            code = 201 if place.startswith("/apis/") else 200
            return code, {**self.created[-1], "metadata": {"name": "s2ops-chain-abcde"}}
        if place.endswith(("workflowtemplates/s2ops-chain", "workflow-templates/lands/s2ops-chain")):
            return 200, TEMPLATE
        if place.endswith("/s2ops-chain-abcde"):
            return 200, self.build_run()
        if "labelSelector" in path or "label" in path:
            child = {"metadata": {"name": "s2ops-chain-abcde-scenes-0"}, "spec": {}, "status": {"phase": "Succeeded"}}
            return 200, {"metadata": {}, "items": [child]}
        return 404, {"kind": "Status", "message": "not found", "code": 5}


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    fake = FakeCluster()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send_reply("GET")

        def do_POST(self) -> None:
            self._send_reply("POST")

        def _send_reply(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            code, answer = fake.answer(method, self.path, body)
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    fake.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=fake.server.serve_forever, daemon=True).start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def kubeconfig(cluster: FakeCluster, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    context = {"cluster": "c", "user": "u", "namespace": "lands"}
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "x",
                "contexts": [{"name": "x", "context": context}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{cluster.port}"}}],
                "users": [{"name": "u", "user": {}}],
            }
        )
    )
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    return path


def parse_sent_config(created: Json) -> RunConfig:
    parameters = {one["name"]: one["value"] for one in created["spec"]["arguments"]["parameters"]}
    return parse_config(parameters["config"], "what was sent")


def test_submit_sends_and_watches_a_run_through_the_kubernetes_api(
    cluster: FakeCluster, kubeconfig: Path, run: Path
) -> None:
    done = run_s2ops("submit", run, "-p", "size=10", "--watch", KUBECONFIG=str(kubeconfig))
    assert done.returncode == 0, done.stderr
    assert "POST /apis/argoproj.io/v1alpha1/namespaces/lands/workflows" in cluster.seen
    assert parse_sent_config(cluster.created[0]) == parse_config(RUN, "run.yaml")
    assert {"name": "size", "value": "10"} in cluster.created[0]["spec"]["arguments"]["parameters"]
    assert "s2ops-chain-abcde: 2 tiles, out s3://bucket/run" in done.stdout
    assert "s2ops-chain-abcde: Running 1/7" in done.stdout
    assert "s2ops-chain-abcde-scenes-0: Succeeded" in done.stdout


def test_submit_reports_final_failures_of_a_watched_run(cluster: FakeCluster, kubeconfig: Path, run: Path) -> None:
    cluster.ends = ["Failed"]
    done = run_s2ops("submit", run, "--watch", KUBECONFIG=str(kubeconfig))
    assert done.returncode == 1
    assert "s2ops-chain-abcde ended as Failed: s2ops-chain-abcde plan(1): main: Error (exit code 2)" in done.stderr
    assert "lost node" not in done.stderr


def test_submit_sends_a_run_through_an_argo_server(cluster: FakeCluster, run: Path) -> None:
    done = run_s2ops(
        "submit", run, "-n", "lands", "--watch", ARGO_SERVER=f"127.0.0.1:{cluster.port}", ARGO_SECURE="false"
    )
    assert done.returncode == 0, done.stderr
    assert "POST /api/v1/workflows/lands" in cluster.seen
    assert parse_sent_config(cluster.created[0]) == parse_config(RUN, "run.yaml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-p", "sise=10"], "s2ops-chain has no parameter sise; it has backoff, child"),
        (["-p", "on_failure=shrug"], "parameter on_failure is 'shrug': use one of publish, keep"),
        (["-n", "elsewhere", "-p", "size"], "parameter 'size' is not of the form NAME=VALUE"),
    ],
)
def test_submit_rejects_invalid_parameters_before_sending(
    cluster: FakeCluster, kubeconfig: Path, run: Path, words: list[str], message: str
) -> None:
    done = run_s2ops("submit", run, *words, KUBECONFIG=str(kubeconfig))
    assert done.returncode == 2
    assert message in done.stderr
    assert cluster.created == []


def test_submit_rejects_missing_weights_before_sending(
    cluster: FakeCluster, kubeconfig: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PACKAGE_WEIGHTS / "preview-cloud.onnx", tmp_path)
    monkeypatch.setattr(registry, "from_url", lambda _: LocalStore(tmp_path))
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    run.write_text(RUN + "models: s3://bucket/weights\n")
    done = CliRunner().invoke(app, ["submit", str(run)])
    assert isinstance(done.exception, ModelError)
    assert "s3://bucket/weights contains no preview-haze.onnx" in str(done.exception)
    assert cluster.created == []


def test_submit_to_a_cluster_without_the_chart_names_the_template(
    cluster: FakeCluster, kubeconfig: Path, run: Path
) -> None:
    place = "workflowtemplates/s2ops-chain"
    answer = cluster.answer
    cluster.answer = lambda *of: (404, {}) if place in of[1] else answer(*of)  # type: ignore[method-assign]
    done = run_s2ops("submit", run, "-n", "empty", KUBECONFIG=str(kubeconfig))
    assert done.returncode == 2
    assert "Cannot read WorkflowTemplate s2ops-chain in namespace empty: " in done.stderr
    assert "; install the chart there, or give --namespace." in done.stderr


def test_submit_dry_run_prints_the_workflow(run: Path) -> None:
    done = run_s2ops("submit", run, "--dry-run", "--name", "alps")
    assert done.returncode == 0, done.stderr
    made = yaml.safe_load(done.stdout)
    assert made["metadata"] == {"name": "alps"}
    assert parse_sent_config(made) == parse_config(RUN, "run.yaml")


def test_submitted_configuration_contains_the_outline_of_the_region(tmp_path: Path) -> None:
    outline = {"type": "Polygon", "coordinates": [[[15.9, 45.8], [16.1, 45.8], [16.1, 45.9], [15.9, 45.8]]]}
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps(outline))
    text = build_config_text(parse_config(RUN.replace("{tiles: [33TWL, 33TWM]}", f"{{geojson: {path}}}"), "run.yaml"))
    assert parse_config(text, "sent").region.geojson == outline


def test_submitted_configuration_that_is_too_large_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "area.geojson"
    path.write_text(json.dumps({"type": "MultiPoint", "coordinates": [[15.9, 45.8]] * 20_000}))
    config = parse_config(RUN.replace("{tiles: [33TWL, 33TWM]}", f"{{geojson: {path}}}"), "run.yaml")
    with pytest.raises(
        ConfigError, match=rf"{MAX_CONFIG_BYTES} can be passed to a pod: put the region's outline into the object"
    ):
        build_config_text(config)


@pytest.mark.parametrize(
    ("field", "place"),
    [("out", "out/alps"), ("out", "file:///data"), ("catalog", "world/catalog.json"), ("models", "weights")],
)
def test_submitted_configuration_with_a_local_place_is_rejected(field: str, place: str) -> None:
    data = yaml.safe_load(RUN) | {field: place}
    with pytest.raises(ConfigError, match=f"{field} is {place}: a pod cannot access this machine's folders"):
        build_config_text(RunConfig.model_validate(data))


def test_submitted_configuration_has_expanded_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET", "s3://mine")
    text = build_config_text(parse_config(RUN.replace("s3://bucket", "${BUCKET}"), "run.yaml"))
    assert "s3://mine/run" in text
    assert "${" not in text


def test_parameters_are_split_at_the_first_equals_sign() -> None:
    assert parse_parameters(["segmenter=triton://a:1?b=c", "size="]) == {"segmenter": "triton://a:1?b=c", "size": ""}
    validate_parameters({"size": "4"}, TEMPLATE)


def test_workflow_by_uri_contains_only_the_uri() -> None:
    made = build_workflow("s3://bucket/run.yaml", {})
    assert made["spec"]["arguments"]["parameters"] == [{"name": "config", "value": "s3://bucket/run.yaml"}]
    assert made["metadata"] == {"generateName": "s2ops-chain-"}


def test_workflow_without_nodes_has_no_failures() -> None:
    assert list(list_failures({"metadata": {"name": "x"}})) == []


PAGE = (Path(__file__).parents[2] / "docs/operations/operate-a-cluster.md").read_text()
COMMANDS = [line for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in text.splitlines()]


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("s2ops ")])
def test_page_contains_valid_s2ops_commands(line: str) -> None:
    words = shlex.split(line)[1:]
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    assert command.make_context(words[0], words[1:]).params["config"] == "region.yaml"


def test_page_contains_the_output_of_its_commands() -> None:
    assert "python -m workflows --sizes 20000" in COMMANDS
    done = subprocess.run(
        [sys.executable, "-m", "workflows", "--sizes", "20000"], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout in PAGE


def test_page_names_every_parameter_with_its_default() -> None:
    for one in TEMPLATE["spec"]["arguments"]["parameters"]:
        row = re.search(rf"^\| .*`{one['name']}`.*\|$", PAGE, re.MULTILINE)
        assert row is not None, one["name"]
        if one.get("value"):
            assert f"| {one['value']} |" in row[0]
