"""Runs of the chain on the cluster: submission, waiting with a time limit, and their pods as recorded by Argo."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .kubectl import Kubectl, wait_until
from .regions import run_s2ops

CHAIN = "workflowtemplate/s2ops-chain"
FINAL_PHASES = {"Succeeded", "Failed", "Error"}


@dataclass(frozen=True, slots=True)
class Run:
    """Submitted run."""

    kubectl: Kubectl
    name: str

    def get_workflow(self) -> dict[str, Any]:
        """Return the current state of the parent workflow."""
        found: dict[str, Any] = self.kubectl.get("workflows", self.name)
        return found

    def get_phase(self) -> str:
        """Return the phase of the run: `Running`, `Succeeded` ...; empty if Argo has not processed it yet."""
        return self.kubectl.get_labels("workflows", self.name).get("workflows.argoproj.io/phase", "")

    def list_children(self) -> list[dict[str, Any]]:
        """List the child workflows, oldest first."""
        found: list[dict[str, Any]] = self.kubectl.get("workflows", selector=f"s2ops/run={self.name}")
        return sorted(found, key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def wait(self, limit_s: float = 600, on_tick: Callable[[], object] | None = None) -> str:
        """Wait until the run has ended; return its phase. `on_tick` is called repeatedly in the meantime.

        Raises:
            TimeoutError: If it has not ended in time; the message contains its tree as argo prints it.
        """
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            phase = self.get_phase()
            if phase in FINAL_PHASES:
                return phase
            if on_tick is not None:
                on_tick()
            time.sleep(1 if on_tick is None else 0.5)
        raise TimeoutError(f"{self.name} has not ended after {limit_s:.0f} s:\n{self.describe()}")

    def wait_for(self, what: str, check: Callable[[], object], limit_s: float = 600) -> None:
        """Wait until `check` returns a truthy value during the run.

        Raises:
            TimeoutError: If it has not in time.
            AssertionError: If the run has ended before.
        """

        def is_reached() -> bool:
            if check():
                return True
            phase = self.get_phase()
            assert phase not in FINAL_PHASES, f"{self.name} ended as {phase} before {what}:\n{self.describe()}"
            return False

        wait_until(what, is_reached, limit_s)

    def wait_until_succeeded(self, limit_s: float = 600, on_tick: Callable[[], object] | None = None) -> Run:
        """Wait until the run has ended, and assert that it succeeded."""
        phase = self.wait(limit_s, on_tick)
        assert phase == "Succeeded", f"{self.name} ended as {phase}:\n{self.describe()}"
        return self

    def list_pod_nodes(self) -> list[dict[str, Any]]:
        """List every pod of the run and its children, as Argo recorded it, with its `stage` added.

        A stage is `plan`, `group`, `scenes` ...; pods that wait for a child workflow have a stage `wait for scenes` ...
        """
        found = []
        for workflow in (self.get_workflow(), *self.list_children()):
            is_child = "s2ops/run" in workflow["metadata"].get("labels", {})
            for node in workflow.get("status", {}).get("nodes", {}).values():
                if node["type"] != "Pod":
                    continue
                template = node.get("templateRef", {}).get("name", "").removeprefix("s2ops-")
                stage = workflow["metadata"]["labels"]["s2ops/step"] if is_child else template
                found.append({**node, "stage": stage or f"wait for {node['templateName']}"})
        return found

    def count_pods(self) -> Counter[str]:
        """Count the pods of each stage, including retries and the pods that wait for child workflows."""
        return Counter(str(node["stage"]) for node in self.list_pod_nodes())

    def describe(self) -> str:
        """Return the output of `argo get` for the run and its children, and the end of their logs."""
        names = [self.name, *(child["metadata"]["name"] for child in self.list_children())]
        texts = [self.kubectl.run_argo("get", name, check=False).stdout for name in names]
        texts += [self.kubectl.run_argo("logs", name, check=False).stdout[-4000:] for name in names]
        return "\n".join(texts)


def submit_with_s2ops(kubectl: Kubectl, config: str, folder: Path, **environment: str) -> Run:
    """Submit a run with `s2ops submit`: through the Kubernetes API, or an Argo server named by the environment."""
    path = folder / "submitted.yaml"
    path.write_text(config)
    endpoints = {"KUBECONFIG": str(kubectl.kubeconfig), "ARGO_SERVER": ""}
    words = ["--namespace", kubectl.namespace, "-p", "size=1", "-p", "backoff=1s"]
    output = run_s2ops("submit", str(path), *words, **(endpoints | environment))
    return Run(kubectl, output.split(":")[0])


def submit_with_argo(kubectl: Kubectl, config: str, **parameters: str) -> Run:
    """Submit a run with `argo submit --from workflowtemplate/s2ops-chain`, with quick retries."""
    given = {"config": config, "backoff": "1s", **parameters}
    words = [word for key, value in given.items() for word in ("--parameter", f"{key}={value}")]
    done = kubectl.run_argo("submit", "--from", CHAIN, "--output", "name", *words)
    return Run(kubectl, done.stdout.strip().splitlines()[-1])
