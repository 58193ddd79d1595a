"""Tests of the Argo workflow templates: generated files, validity, pod security, and sizes that a cluster can store."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from s2ops.cli.app import app
from s2ops.cluster.submit import build_workflow
from tests.e2e.toolchain import TOOLS_BY_NAME, find_module_folder
from workflows import build_all_templates, chain, object_size_estimate, tile_group_templates
from workflows.__main__ import FOLDER, render_files
from workflows.parameters import list_common_names

Json = dict[str, Any]
TEMPLATES: dict[str, Json] = {name: yaml.safe_load(text) for name, text in render_files().items()}
CONTAINERS = {
    f"{name}/{template['name']}": template
    for name, document in TEMPLATES.items()
    for template in document["spec"]["templates"]
    if "container" in template
}


def test_committed_yaml_equals_the_rendered_templates() -> None:
    """Run `python -m workflows` to update the files."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.yaml")} == render_files()


def test_templates_conform_to_the_schema_of_argo() -> None:
    try:
        schema = json.loads((find_module_folder("argo") / "api/jsonschema/schema.json").read_text())
    except (FileNotFoundError, RuntimeError) as error:
        pytest.skip(f"Argo's schema is in its Go module: {error}")
    kind = {
        "$ref": "#/definitions/io.argoproj.workflow.v1alpha1.WorkflowTemplate",
        "definitions": schema["definitions"],
    }
    for name, document in TEMPLATES.items():
        found = [one.message for one in jsonschema.Draft7Validator(kind).iter_errors(document)]
        assert found == [], name


def run_argo_lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    argo = TOOLS_BY_NAME["argo"].bin / "argo"
    if not argo.exists():
        pytest.skip("argo is missing: build it with make test-cluster")
    return subprocess.run(
        [argo, "lint", "--offline", "--no-color", *paths], capture_output=True, text=True, check=False, timeout=300
    )


def test_argo_lint_accepts_all_templates_and_a_submission_together(tmp_path: Path) -> None:
    submission = tmp_path / "run.yaml"
    submission.write_text(yaml.safe_dump(build_workflow("region: {tiles: [33TWL]}", {"size": "10"}, "run")))
    done = run_argo_lint(FOLDER, submission)
    assert done.returncode == 0, done.stdout


def test_argo_lint_finds_a_missing_template(tmp_path: Path) -> None:
    for name, text in render_files().items():
        (tmp_path / name).write_text(
            text.replace("name: s2ops-balance\n          template", "name: s2ops-b\n          template")
        )
    done = run_argo_lint(tmp_path)
    assert done.returncode != 0
    assert "s2ops-b" in done.stdout


def find_template_references(value: object) -> Iterator[Json]:
    """Yield every templateRef in a document."""
    if isinstance(value, dict):
        yield from [value["templateRef"]] if "templateRef" in value else []
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from find_template_references(one)


def test_template_references_have_their_templates() -> None:
    existing = {
        (document["metadata"]["name"], template["name"])
        for document in TEMPLATES.values()
        for template in document["spec"]["templates"]
    }
    found = {
        (ref["name"], ref["template"]) for document in TEMPLATES.values() for ref in find_template_references(document)
    }
    assert found <= existing
    assert len(found) == 4  # plan, group, balance, publish


@pytest.mark.parametrize("stage", tile_group_templates.STAGES, ids=lambda stage: stage.name)
def test_child_manifest_sets_every_parameter_without_a_default(stage: tile_group_templates.Stage) -> None:
    filled = re.sub(r"\{\{=toJson\(workflow\.parameters\.(\w+)\)\}\}", r'"the \1"', chain.render_child_manifest(stage))
    child = yaml.safe_load(filled.replace("{{workflow.name}}", "run").replace("{{inputs.parameters.first}}", "32"))
    given = {one["name"]: one["value"] for one in child["spec"]["arguments"]["parameters"]}
    template = TEMPLATES[f"{child['spec']['workflowTemplateRef']['name']}.yaml"]
    wanted = template["spec"]["arguments"]["parameters"]
    assert set(given) <= {one["name"] for one in wanted}
    assert {one["name"] for one in wanted if "value" not in one and "valueFrom" not in one} <= set(given)
    assert set(list_common_names()) < set(given)
    assert child["metadata"]["name"] == f"run-{stage.name}-32"
    assert child["metadata"]["labels"]["s2ops/run"] == "run"


@pytest.mark.parametrize("name", CONTAINERS)
def test_pod_command_line_is_valid_for_s2ops(name: str) -> None:
    container = CONTAINERS[name]["container"]
    values = {"stage": "blend", "size": "16", "child": "500", "group": "007", "segmenter": "onnx"}
    words = [
        re.sub(r"\{\{\w+\.parameters\.(\w+)\}\}", lambda match: values[match[1]], word) for word in container["args"]
    ]
    command = typer.main.get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    context = command.make_context(words[0], words[1:])
    assert container["command"] == ["s2ops"]
    assert context.params["config"] == "-"
    assert context.params["log_format"] == "json"


@pytest.mark.parametrize("name", CONTAINERS)
def test_pod_conforms_to_the_restricted_standard_and_requests_resources(name: str) -> None:
    template = CONTAINERS[name]
    patch = json.loads(re.sub(r"\{\{[\w.]+\}\}", "1", template["podSpecPatch"]))
    by_name = {one["name"]: one for one in (*patch["initContainers"], *patch["containers"])}
    for security in (
        template["container"]["securityContext"],
        *(by_name[one]["securityContext"] for one in ("init", "wait")),
    ):
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert template["container"]["securityContext"]["readOnlyRootFilesystem"] is True
    assert template["securityContext"]["runAsNonRoot"] is True
    assert template["securityContext"]["runAsUser"] > 0
    resources = template["container"].get("resources") or by_name["main"]["resources"]
    assert {"cpu", "memory"} == set(resources["requests"])
    assert "memory" in resources["limits"]
    assert template["serviceAccountName"] == "s2ops-step"
    assert template["activeDeadlineSeconds"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_pod_is_retried_for_transient_errors_but_not_when_out_of_memory(name: str) -> None:
    expression = CONTAINERS[name]["retryStrategy"]["expression"]
    assert 'lastRetry.status == "Error"' in expression
    assert '"75"' in expression
    assert '!(lastRetry.message matches "OOMKilled")' in expression
    assert '"context canceled"' in expression
    assert CONTAINERS[name]["retryStrategy"]["retryPolicy"] == "Always"


def test_pods_wait_for_one_semaphore_at_most() -> None:
    """Two semaphores can deadlock in Argo (see `workflows.pod_template.build_semaphore`)."""
    waits = {
        name: [one["configMapKeyRef"]["key"] for one in template["synchronization"]["semaphores"]]
        for name, template in CONTAINERS.items()
        if "synchronization" in template
    }
    assert waits == {
        "s2ops-group.yaml/main": ["catalog"],
        "s2ops-scenes.yaml/group": ["catalog"],
        "s2ops-landcover.yaml/group": ["inference"],
    }


def test_chain_account_is_used_only_by_pods_that_create_workflows() -> None:
    accounts = {
        template.get("serviceAccountName")
        for document in TEMPLATES.values()
        for template in document["spec"]["templates"]
        if "resource" in template
    }
    assert accounts == {"s2ops-chain"}
    assert {document["spec"]["serviceAccountName"] for document in TEMPLATES.values()} == {"s2ops-step"}


def test_workflow_parameters_have_descriptions() -> None:
    for name, document in TEMPLATES.items():
        for parameter in document["spec"]["arguments"]["parameters"]:
            assert parameter.get("description"), f"{name}: {parameter['name']}"


def test_metrics_have_no_label_that_grows_with_the_region() -> None:
    labels = {
        label["key"]
        for template in CONTAINERS.values()
        for metric in template["metrics"]["prometheus"]
        for label in metric["labels"]
    }
    assert labels == {"step", "status", "result"}


def test_workflows_of_20000_tiles_stay_below_the_size_that_argo_compresses() -> None:
    found = object_size_estimate.estimate_run(20_000, 16, 500)
    assert {size.what: size.count for size in found} == {
        "s2ops-chain": 1, "s2ops-scenes": 41, "s2ops-blend": 41, "s2ops-landcover": 41,
    }  # fmt: skip
    assert all(size.retried < object_size_estimate.LIMIT / 3 for size in found)


@pytest.mark.parametrize("stage", tile_group_templates.STAGES, ids=lambda stage: stage.name)
def test_child_workflow_of_500_groups_stays_below_1_mib(stage: tile_group_templates.Stage) -> None:
    child = object_size_estimate.build_child_object(stage, 500, 1)
    assert sum(node["type"] == "Pod" for node in child["status"]["nodes"].values()) == 500
    assert len(json.dumps(child).encode()) < object_size_estimate.LIMIT
    assert (
        next(size for size in object_size_estimate.estimate_run(500, 1, 500) if size.what == stage.template).packed
        < object_size_estimate.LIMIT / 5
    )


def test_workflows_command_prints_the_sizes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workflows", "--sizes", "20000"], capture_output=True, text=True, check=True, timeout=600
    )
    assert re.search(r"s2ops-scenes +41 +31", done.stdout)


def test_templates_have_unique_names_and_the_labels_of_the_chart() -> None:
    names = [str(template.name) for template in build_all_templates()]
    assert len(set(names)) == len(names) == 8
    for document in TEMPLATES.values():
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "s2ops"
