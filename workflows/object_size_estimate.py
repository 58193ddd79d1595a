"""Object size estimate: workflow objects of a run, filled as the controller fills them, and measured.

Kubernetes stores objects of up to 1.5 MiB, and Argo compresses the nodes of a workflow from 1 MiB on; a run must stay
below that by its division into children, without the database that Argo can offload nodes to. The node entries are
those of a real run (Argo 3.7): a retry node and a pod node per pod, with inputs, outputs and times.
"""

import base64
import gzip
import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

from hera.workflows import WorkflowTemplate

from workflows import chain, tile_group_templates

Json: TypeAlias = dict[str, Any]

LIMIT: Final = 1024 * 1024
"""Size in bytes above which Argo compresses a workflow's nodes."""

RUN: Final = "s2ops-chain-x7k2p"
"""Example of a name that `argo submit` generates."""

CONFIG: Final = "region: {bbox: [-10.5, 35.2, 30.1, 70.9]}\n" + "# a comment of some length\n" * 70
"""Example configuration of 2 kB."""


@dataclass(frozen=True)
class ObjectSize:
    """Size of one kind of workflow object in a run."""

    what: str
    count: int
    """Number of objects of this kind in the run."""
    pods: int
    plain: int
    """Bytes of JSON if every pod succeeds at its first attempt."""
    retried: int
    """Bytes of JSON if every pod is started twice."""
    packed: int
    """Bytes of the same with compressed nodes, as Argo stores objects above the limit."""


def estimate_run(tiles: int, group: int, child: int) -> list[ObjectSize]:
    """Estimate the parent, and the largest child of each stage, of a run in which all `tiles` have work."""
    each = child // group  # a child contains whole groups
    children = math.ceil(math.ceil(tiles / group) / each)
    groups = min(each, math.ceil(tiles / group))
    return [
        _measure_size("s2ops-chain", 1, partial(_build_parent_object, children), 6 + 3 * children),
        *(
            _measure_size(stage.template, children, partial(build_child_object, stage, groups), groups)
            for stage in tile_group_templates.STAGES
        ),
    ]


def build_child_object(stage: tile_group_templates.Stage, groups: int, attempts: int) -> Json:
    """Build a finished child workflow whose pods were each started `attempts` times."""
    name = f"{RUN}-{stage.name}-0"
    nodes, outputs = {}, _build_outputs(stage)
    for number in range(groups):
        inputs = {"parameters": [{"name": "group", "value": f"{number:03d}"}]}
        for node in _build_retry_nodes(name, f"group({number}:{number:03d})", "group", inputs, outputs, attempts):
            nodes[node["id"]] = node
    nodes[name] = {
        "id": name,
        "type": "DAG",
        "outboundNodes": [key for key, one in nodes.items() if one["type"] == "Pod"],
    }
    every = [key for key, one in nodes.items() if one["type"] == "Retry"]
    nodes[f"{name}-0"] = {"id": f"{name}-0", "type": "TaskGroup", "children": every}
    return _build_workflow_object(name, tile_group_templates.build_child_template(stage), nodes)


def _build_parent_object(children: int, attempts: int) -> Json:
    nodes: Json = {}
    for one in ("plan", "balance", "publish", *(f"group-{stage.name}" for stage in tile_group_templates.STAGES)):
        for node in _build_retry_nodes(RUN, one, "main", {}, {}, attempts):
            nodes[node["id"]] = node
    for stage in tile_group_templates.STAGES:
        for number in range(children):
            ends = {"first": str(number * 32), "last": str(number * 32 + 31)}
            shown = f"{stage.name}({number}:{','.join(f'{key}:{value}' for key, value in ends.items())})"
            inputs = {"parameters": [{"name": key, "value": value} for key, value in ends.items()]}
            for node in _build_retry_nodes(RUN, shown, stage.name, inputs, {}, attempts):
                nodes[node["id"]] = node
    return _build_workflow_object(RUN, chain.build_chain_template(), nodes)


def _build_outputs(stage: tile_group_templates.Stage) -> Json:
    template = (
        tile_group_templates.build_child_template(stage)
        .build()
        .model_dump(mode="json", by_alias=True, exclude_none=True)
    )
    named = next(one for one in template["spec"]["templates"] if one["name"] == "group")["outputs"]["parameters"]
    return {"exitCode": "0", "parameters": [{**one, "value": "16"} for one in named]}


def _build_retry_nodes(
    workflow: str, shown: str, template: str, inputs: Json, outputs: Json, attempts: int
) -> Iterator[Json]:
    """Yield the retry node of a pod and the nodes of its attempts."""
    children = [
        _build_node(workflow, f"{shown}({number})", template, "Pod", inputs, outputs) for number in range(attempts)
    ]
    yield _build_node(workflow, shown, template, "Retry", inputs, outputs) | {
        "children": [one["id"] for one in children]
    }
    yield from children


def _build_node(workflow: str, shown: str, template: str, kind: str, inputs: Json, outputs: Json) -> Json:
    moment = "2026-01-01T00:00:00Z"
    return {
        "boundaryID": workflow,
        "displayName": shown,
        "finishedAt": moment,
        "hostNodeName": "gke-pool-1-4f3b2a1c-x9z8.europe-west1.internal",
        "id": f"{workflow}-{_number(shown)}",
        "inputs": inputs,
        "name": f"{workflow}.{shown}",
        "nodeFlag": {"retried": True},
        "outputs": outputs,
        "phase": "Succeeded",
        "progress": "16/16",
        "resourcesDuration": {"cpu": 1200, "memory": 120_000},
        "startedAt": moment,
        "taskResultSynced": True,
        "templateName": template,
        "templateScope": f"local/{workflow}",
        "type": kind,
    }


def _number(text: str) -> int:
    """Return ten digits, as the controller hashes node names."""
    return 1_000_000_000 + zlib.crc32(text.encode()) % 3_000_000_000


def _build_workflow_object(name: str, template: WorkflowTemplate, nodes: Json) -> Json:
    """Build the object that the API server stores: arguments, a copy of the template, the nodes."""
    spec = template.build().model_dump(mode="json", by_alias=True, exclude_none=True)["spec"]
    arguments = {"parameters": [{"name": "config", "value": CONFIG}, {"name": "first", "value": "0"}]}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": "s2ops", "labels": {"s2ops/run": RUN}},
        "spec": {"workflowTemplateRef": {"name": template.name}, "arguments": arguments},
        "status": {
            "phase": "Succeeded",
            "nodes": nodes,
            "storedTemplates": spec["templates"],
            "storedWorkflowTemplateSpec": {**spec, "arguments": arguments},
        },
    }


def _measure_size(what: str, count: int, workflow: Callable[[int], Json], pods: int) -> ObjectSize:
    retried = workflow(2)
    full = _count_bytes(retried)
    nodes = _encode_json(retried["status"].pop("nodes"))
    packed = len(base64.b64encode(gzip.compress(nodes)))
    return ObjectSize(what, count, pods, _count_bytes(workflow(1)), full, _count_bytes(retried) + packed)


def _count_bytes(value: Json) -> int:
    return len(_encode_json(value))


def _encode_json(value: Json) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
