"""Runs of the chain: submitted with `argo submit`, awaited with a time limit, and what they did, pod by pod."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .kubectl import Kubectl, wait_until
from .regions import s2ops

CHAIN = "workflowtemplate/s2ops-chain"
ENDED = {"Succeeded", "Failed", "Error"}


@dataclass(frozen=True, slots=True)
class Run:
    """A submitted run."""

    kubectl: Kubectl
    name: str

    def workflow(self) -> dict[str, Any]:
        """The parent workflow as it is now."""
        found: dict[str, Any] = self.kubectl.get("workflows", self.name)
        return found

    def phase(self) -> str:
        """Where it stands: `Running`, `Succeeded` ...; empty where Argo has not seen it yet."""
        return self.kubectl.labels("workflows", self.name).get("workflows.argoproj.io/phase", "")

    def children(self) -> list[dict[str, Any]]:
        """Its child workflows, in the order they were made."""
        found: list[dict[str, Any]] = self.kubectl.get("workflows", selector=f"s2ops/run={self.name}")
        return sorted(found, key=lambda one: str(one["metadata"]["creationTimestamp"]))

    def wait(self, limit_s: float = 600, on_tick: Callable[[], object] | None = None) -> str:
        """The phase in which it ended; `on_tick` is called again and again meanwhile.

        Raises:
            TimeoutError: it has not ended in time; the message holds its tree as argo shows it.
        """
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            phase = self.phase()
            if phase in ENDED:
                return phase
            if on_tick is not None:
                on_tick()
            time.sleep(1 if on_tick is None else 0.5)
        raise TimeoutError(f"{self.name} has not ended after {limit_s:.0f} s:\n{self.story()}")

    def until(self, what: str, true: Callable[[], object], limit_s: float = 600) -> None:
        """Wait for something that comes about in the course of the run.

        Raises:
            TimeoutError: it has not in time.
            AssertionError: the run has ended without it.
        """

        def now() -> bool:
            if true():
                return True
            phase = self.phase()
            assert phase not in ENDED, f"{self.name} ended as {phase} before {what}:\n{self.story()}"
            return False

        wait_until(what, now, limit_s)

    def succeeded(self, limit_s: float = 600, on_tick: Callable[[], object] | None = None) -> Run:
        """Wait for its end, which must be good."""
        phase = self.wait(limit_s, on_tick)
        assert phase == "Succeeded", f"{self.name} ended as {phase}:\n{self.story()}"
        return self

    def nodes(self) -> list[dict[str, Any]]:
        """Every pod of the run and its children, as Argo recorded it; `stage` is added.

        A stage is `plan`, `group`, `scenes` ...; the pods that wait for a child workflow are of `wait for scenes` ...
        """
        found = []
        for workflow in (self.workflow(), *self.children()):
            of_child = "s2ops/run" in workflow["metadata"].get("labels", {})
            for node in workflow.get("status", {}).get("nodes", {}).values():
                if node["type"] != "Pod":
                    continue
                whole = node.get("templateRef", {}).get("name", "").removeprefix("s2ops-")
                stage = workflow["metadata"]["labels"]["s2ops/step"] if of_child else whole
                found.append({**node, "stage": stage or f"wait for {node['templateName']}"})
        return found

    def pods(self) -> Counter[str]:
        """How many pods each stage started, retries and waiting pods of child workflows included."""
        return Counter(str(node["stage"]) for node in self.nodes())

    def story(self) -> str:
        """What `argo get` prints of it, its children, and the logs of pods that failed."""
        names = [self.name, *(child["metadata"]["name"] for child in self.children())]
        told = [self.kubectl.argo("get", name, check=False).stdout for name in names]
        told += [self.kubectl.argo("logs", name, check=False).stdout[-4000:] for name in names]
        return "\n".join(told)


def submit_by_s2ops(kubectl: Kubectl, config: str, folder: Path, **environment: str) -> Run:
    """`s2ops submit`: through the Kubernetes API, or the Argo server that the environment names."""
    path = folder / "submitted.yaml"
    path.write_text(config)
    doors = {"KUBECONFIG": str(kubectl.kubeconfig), "ARGO_SERVER": ""}
    words = ["--namespace", kubectl.namespace, "-p", "size=1", "-p", "backoff=1s"]
    said = s2ops("submit", str(path), *words, **(doors | environment))
    return Run(kubectl, said.split(":")[0])


def submit(kubectl: Kubectl, config: str, **parameters: str) -> Run:
    """`argo submit --from workflowtemplate/s2ops-chain`, with quick retries."""
    given = {"config": config, "backoff": "1s", **parameters}
    words = [word for key, value in given.items() for word in ("--parameter", f"{key}={value}")]
    done = kubectl.argo("submit", "--from", CHAIN, "--output", "name", *words)
    return Run(kubectl, done.stdout.strip().splitlines()[-1])
