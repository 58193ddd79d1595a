"""kubectl, argo and helm against one cluster, and quick looks at it, each call with a time limit."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from kubernetes import client, config

from .toolchain import ALL

_LOOKED_AT = {
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/namespaces/{namespace}/pods",
    "workflows": "/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows",
}
METADATA = "application/json;as={};g=meta.k8s.io;v=v1"
"""What to accept, for an object without its spec and status."""
_LOOK_S = 30


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

    def labels(self, kind: str, name: str) -> dict[str, str]:
        """The labels of an object, without the rest of it."""
        found = self._look(
            f"{_LOOKED_AT[kind].format(namespace=self.namespace)}/{name}",
            "",
            "",
            METADATA.format("PartialObjectMetadata"),
        )
        labels: dict[str, str] = found["metadata"].get("labels", {})
        return labels

    def names(self, kind: str, selector: str) -> list[dict[str, Any]]:
        """The `metadata` alone of objects: names and labels."""
        path, accept = _LOOKED_AT[kind].format(namespace=self.namespace), METADATA.format("PartialObjectMetadataList")
        found: list[dict[str, Any]] = self._look(path, selector, "", accept)["items"]
        return found

    def get(self, kind: str, name: str = "", selector: str = "", fields: str = "") -> Any:
        """Objects as JSON, a list unless one is named; without a process of its own, as tests ask often.

        Raises:
            kubernetes.client.ApiException: there is none of that name, or the server does not answer.
        """
        path = _LOOKED_AT[kind].format(namespace=self.namespace) + (f"/{name}" if name else "")
        found = self._look(path, selector, fields, "application/json")
        return found if name else found["items"]

    def _look(self, path: str, selector: str, fields: str, accept: str) -> Any:
        api = _connection(self.kubeconfig)
        asked = api.param_serialize(
            "GET",
            path,
            query_params=[("labelSelector", selector), ("fieldSelector", fields)],
            header_params={"Accept": accept},
            auth_settings=["BearerToken"],
        )
        answer = api.call_api(*asked, _request_timeout=_LOOK_S)
        text = answer.read()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise client.ApiException(status=answer.status, reason=f"{path}: {text.decode()}")
        return json.loads(text)

    def close(self) -> None:
        """End the connections that `get` keeps; the next one opens them anew."""
        _connection(self.kubeconfig).rest_client.pool_manager.clear()

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


@functools.cache
def _connection(kubeconfig: Path) -> client.ApiClient:
    """Kept connections to the API server."""
    settings = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=settings)
    return client.ApiClient(settings)


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
