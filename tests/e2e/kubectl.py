"""Clients of one cluster: kubectl, argo and helm as commands, and quick API requests, each with a time limit."""

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

from .toolchain import TOOLS_BY_NAME

_API_PATHS = {
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/namespaces/{namespace}/pods",
    "workflows": "/apis/argoproj.io/v1alpha1/namespaces/{namespace}/workflows",
}
METADATA_ACCEPT = "application/json;as={};g=meta.k8s.io;v=v1"
"""Media type for requests of an object without its spec and status."""
_REQUEST_LIMIT_S = 30


@dataclass(frozen=True, slots=True)
class Kubectl:
    """Command-line clients with a kubeconfig and a namespace."""

    kubeconfig: Path
    namespace: str

    def run(
        self, *words: str, check: bool = True, stdin: str = "", limit_s: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl; with `check`, a failure raises RuntimeError with its output."""
        return self._call(TOOLS_BY_NAME["kubernetes"].bin / "kubectl", words, check, stdin, limit_s)

    def run_argo(self, *words: str, check: bool = True, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run argo, which connects to the API server directly."""
        return self._call(TOOLS_BY_NAME["argo"].bin / "argo", words, check, "", limit_s)

    def run_helm(self, *words: str, check: bool = True, limit_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run helm."""
        return self._call(TOOLS_BY_NAME["helm"].bin / "helm", words, check, "", limit_s)

    def get_labels(self, kind: str, name: str) -> dict[str, str]:
        """Return the labels of an object, without requesting the rest of it."""
        found = self._request(
            f"{_API_PATHS[kind].format(namespace=self.namespace)}/{name}",
            "",
            "",
            METADATA_ACCEPT.format("PartialObjectMetadata"),
        )
        labels: dict[str, str] = found["metadata"].get("labels", {})
        return labels

    def list_metadata(self, kind: str, selector: str) -> list[dict[str, Any]]:
        """Return the `metadata` of objects (names and labels), without the rest of them."""
        path, accept = (
            _API_PATHS[kind].format(namespace=self.namespace),
            METADATA_ACCEPT.format("PartialObjectMetadataList"),
        )
        found: list[dict[str, Any]] = self._request(path, selector, "", accept)["items"]
        return found

    def get(self, kind: str, name: str = "", selector: str = "", fields: str = "") -> Any:
        """Return objects as JSON: a list, or one object if it is named.

        The request is made in this process, because tests make many of them.

        Raises:
            kubernetes.client.ApiException: If there is no object of that name, or the server does not respond.
        """
        path = _API_PATHS[kind].format(namespace=self.namespace) + (f"/{name}" if name else "")
        found = self._request(path, selector, fields, "application/json")
        return found if name else found["items"]

    def _request(self, path: str, selector: str, fields: str, accept: str) -> Any:
        api = _connect(self.kubeconfig)
        request = api.param_serialize(
            "GET",
            path,
            query_params=[("labelSelector", selector), ("fieldSelector", fields)],
            header_params={"Accept": accept},
            auth_settings=["BearerToken"],
        )
        answer = api.call_api(*request, _request_timeout=_REQUEST_LIMIT_S)
        text = answer.read()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise client.ApiException(status=answer.status, reason=f"{path}: {text.decode()}")
        return json.loads(text)

    def close(self) -> None:
        """Close the connections that `get` keeps open; the next request opens them again."""
        _connect(self.kubeconfig).rest_client.pool_manager.clear()

    def apply(self, *objects: Mapping[str, object]) -> None:
        """Create or change objects by server-side apply."""
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
        command = [
            str(program),
            "--namespace",
            self.namespace,
            *words,
        ]  # before the words, which may end in a command for a pod
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=limit_s, env=environment, check=False
        )
        if check and done.returncode:
            raise RuntimeError(
                f"{program.name} {' '.join(words)} failed with exit code {done.returncode}: {done.stderr}{done.stdout}"
            )
        return done


@functools.cache
def _connect(kubeconfig: Path) -> client.ApiClient:
    """Connect to the API server; connections are kept open."""
    settings = client.Configuration()
    config.load_kube_config(str(kubeconfig), client_configuration=settings)
    return client.ApiClient(settings)


def wait_until(what: str, check: Callable[[], Any], limit_s: float, every_s: float = 0.5) -> Any:
    """Call `check` repeatedly; return its first truthy result.

    Raises:
        TimeoutError: If there was none in time; the message names `what` was expected.
    """
    end = time.monotonic() + limit_s
    while True:
        answer = check()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"Waited in vain for {limit_s:.0f} s: {what}")
        time.sleep(every_s)
