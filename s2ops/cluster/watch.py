"""Watch (monitor) a submitted run until it ends."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from s2ops.cluster.argo_client import RunFailed, WorkflowClient
from s2ops.constants import Json
from s2ops.errors import TransientError

_FINAL_PHASES: Final = {"Succeeded", "Failed", "Error"}
_MAX_LISTED_FAILURES: Final = 10
"""Maximum number of failures in an error message."""


def watch_run(client: WorkflowClient, name: str, report: Callable[[str], None], interval_s: float = 5.0) -> None:
    """Report each status change of a run and its child workflows until the run ends.

    Args:
        client: Client of the cluster.
        name: Name of the workflow.
        report: Called with one line per status change or transient error.
        interval_s: Time between two queries in seconds.

    Raises:
        RunFailed: If the run ends without success.
    """
    reported: dict[str, str] = {}
    while True:
        try:
            run, children = client.get_workflow(name), client.list_child_workflows(name)
        except TransientError as error:
            report(str(error))
            time.sleep(interval_s)
            continue
        for one in (run, *children):
            status = one.get("status", {})
            line = f"{status.get('phase', 'Pending')} {status.get('progress', '')}".strip()
            if reported.get(one["metadata"]["name"]) != line:
                reported[one["metadata"]["name"]] = line
                report(f"{one['metadata']['name']}: {line}")
        status = run.get("status", {})
        if status.get("phase") in _FINAL_PHASES:
            break
        time.sleep(interval_s)
    if status["phase"] != "Succeeded":
        found = [line for one in (run, *children) for line in list_failures(one)]
        further = f"; and {len(found) - _MAX_LISTED_FAILURES} more" if len(found) > _MAX_LISTED_FAILURES else ""
        reasons = "; ".join(found[:_MAX_LISTED_FAILURES]) or status.get("message")
        raise RunFailed(f"{name} ended as {status['phase']}: {reasons}{further}")


def list_failures(workflow: Json) -> Iterator[str]:
    """List the messages of the pods whose last attempt failed."""
    nodes = (workflow.get("status", {}).get("nodes") or {}).values()
    last = {node["children"][-1] for node in nodes if node.get("type") == "Retry" and node.get("children")}
    for node in nodes:
        if node.get("type") == "Pod" and node.get("phase") in {"Failed", "Error"} and node["id"] in last:
            yield f"{workflow['metadata']['name']} {node['displayName']}: {node.get('message', 'no message')}"
