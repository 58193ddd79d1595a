"""kubectl, argo and helm against one cluster, each call with a time limit."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .toolchain import ALL


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The command-line clients with a kubeconfig and a namespace."""

    kubeconfig: Path
    namespace: str

    def run(
        self, *words: str, check: bool = True, stdin: str = "", limit_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """kubectl; with `check`, a failure raises with what it said."""
        return self._call(ALL["kubernetes"].bin / "kubectl", words, check, stdin, limit_s)

    def argo(self, *words: str, check: bool = True, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
        """argo, straight to the API server."""
        return self._call(ALL["argo"].bin / "argo", words, check, "", limit_s)

    def helm(self, *words: str, check: bool = True, limit_s: float = 300) -> subprocess.CompletedProcess[str]:
        """helm."""
        return self._call(ALL["helm"].bin / "helm", words, check, "", limit_s)

    def get(self, *words: str) -> Any:
        """Objects as JSON; a list's items where several are asked for."""
        found = json.loads(self.run("get", *words, "--output", "json").stdout)
        return found["items"] if found["kind"].endswith("List") else found

    def apply(self, *objects: Mapping[str, object]) -> None:
        """Create or change objects."""
        text = "\n---\n".join(json.dumps(one) for one in objects)
        self.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)

    def _call(
        self, program: Path, words: tuple[str, ...], check: bool, stdin: str, limit_s: float
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "ARGO_SERVER": "",
            "HELM_NAMESPACE": self.namespace,
        }
        command = [str(program), "--namespace", self.namespace, *words]  # in front: words may end in a command of a pod
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=limit_s, env=environment, check=False
        )
        if check and done.returncode:
            raise RuntimeError(
                f"{program.name} {' '.join(words)} ended with {done.returncode}: {done.stderr}{done.stdout}"
            )
        return done


def wait_until(what: str, true: Callable[[], Any], limit_s: float, every_s: float = 0.5) -> Any:
    """The first truthy answer of `true`.

    Raises:
        TimeoutError: none came in time; the message says `what` was awaited.
    """
    end = time.monotonic() + limit_s
    while True:
        answer = true()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not so after {limit_s:.0f} s")
        time.sleep(every_s)
