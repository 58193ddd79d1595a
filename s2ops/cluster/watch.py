"""Follow a submitted run until it ends."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from s2ops.cluster.argo_client import Cluster, RunFailed
from s2ops.errors import TransientError

Json: TypeAlias = dict[str, Any]

_ENDED: Final = {"Succeeded", "Failed", "Error"}
_LISTED: Final = 10
"""Failures that a message names."""


def watch(cluster: Cluster, name: str, say: Callable[[str], None], every_s: float = 5.0) -> None:
    """Say each change of the run and its children until it ends; RunFailed where it ends without success."""
    told: dict[str, str] = {}
    while True:
        try:
            run, children = cluster.workflow(name), cluster.children(name)
        except TransientError as error:
            say(str(error))
            time.sleep(every_s)
            continue
        for one in (run, *children):
            status = one.get("status", {})
            line = f"{status.get('phase', 'Pending')} {status.get('progress', '')}".strip()
            if told.get(one["metadata"]["name"]) != line:
                told[one["metadata"]["name"]] = line
                say(f"{one['metadata']['name']}: {line}")
        status = run.get("status", {})
        if status.get("phase") in _ENDED:
            break
        time.sleep(every_s)
    if status["phase"] != "Succeeded":
        found = [line for one in (run, *children) for line in failures(one)]
        further = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise RunFailed(
            f"{name} ended as {status['phase']}: {'; '.join(found[:_LISTED]) or status.get('message')}{further}"
        )


def failures(workflow: Json) -> Iterator[str]:
    """What each pod that failed for good has said."""
    nodes = (workflow.get("status", {}).get("nodes") or {}).values()
    last = {node["children"][-1] for node in nodes if node.get("type") == "Retry" and node.get("children")}
    for node in nodes:
        if node.get("type") == "Pod" and node.get("phase") in {"Failed", "Error"} and node["id"] in last:
            yield f"{workflow['metadata']['name']} {node['displayName']}: {node.get('message', 'no message')}"
