"""Minimal Kubernetes API client with persistent connections, fast enough to simulate thousands of containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import urllib3

from .cluster_layout import TOKEN, ClusterLayout
from .kubectl import METADATA_ACCEPT

Json = dict[str, Any]

PODS = "/api/v1/namespaces/s2ops/pods"
WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/s2ops/workflows"
RESULTS = "/apis/argoproj.io/v1alpha1/namespaces/s2ops/workflowtaskresults"

_METADATA = METADATA_ACCEPT.format("PartialObjectMetadata")
_METADATA_LIST = METADATA_ACCEPT.format("PartialObjectMetadataList")
_GONE = 410


class ApiClient:
    """API client with the administrator's token."""

    def __init__(self, layout: ClusterLayout, connections: int = 16) -> None:
        self._http = urllib3.HTTPSConnectionPool(
            layout.addresses.host,
            layout.addresses.api,
            maxsize=connections,
            ca_certs=str(layout.certificates / "apiserver.crt"),
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=urllib3.Timeout(connect=5, read=60),
            retries=urllib3.Retry(total=5, backoff_factor=0.2, status_forcelist=[429, 500, 502, 503, 504]),
        )

    def get(self, path: str) -> Json:
        """Get one object."""
        return self._request("GET", path)

    def list_metadata(self, path: str, **query: str) -> list[Json]:
        """List the metadata of all objects that match the query."""
        found: list[Json] = self._request("GET", f"{path}?{urlencode(query)}", accept=_METADATA_LIST)["items"] or []
        return found

    def post(self, path: str, body: Json) -> None:
        """Create an object; an existing one is not changed."""
        self._request("POST", path, json.dumps(body), "application/json", accepted=(409,))

    def merge(self, path: str, body: Json) -> None:
        """Change some fields; an object that has been deleted is not created again."""
        self._request("PATCH", path, json.dumps(body), "application/merge-patch+json", accepted=(404,))

    def apply(self, path: str, manifest: str) -> None:
        """Apply a manifest on the server, as `kubectl apply --server-side` does."""
        self._request("PATCH", f"{path}?fieldManager=kubectl&force=true", manifest, "application/apply-patch+yaml")

    def watch(self, path: str, **query: str) -> Iterator[tuple[str, Json]]:
        """Yield events (ADDED, MODIFIED or DELETED; metadata) of all objects that match the query, without end."""
        version = ""
        while True:
            if not version:
                listed = self._request("GET", f"{path}?{urlencode(query)}", accept=_METADATA_LIST)
                version = str(listed["metadata"]["resourceVersion"])
                for one in listed["items"] or []:
                    yield "ADDED", one
            words = {**query, "watch": "true", "resourceVersion": version, "timeoutSeconds": "50"}
            for kind, found in self._read_events(f"{path}?{urlencode(words)}"):
                if kind == "ERROR":
                    version = ""
                    break
                version = str(found["metadata"]["resourceVersion"])
                yield kind, found

    def _read_events(self, path: str) -> Iterator[tuple[str, Json]]:
        answer = self._http.request("GET", path, headers=self._build_headers(_METADATA), preload_content=False)
        if answer.status == _GONE:
            yield "ERROR", {}
            return
        if answer.status >= 400:
            raise RuntimeError(f"watch {path}: {answer.status} {answer.data.decode()[:500]}")
        rest = b""
        for piece in answer.stream(65536):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                event = json.loads(line)
                yield str(event["type"]), event["object"]
        answer.release_conn()

    def _build_headers(self, accept: str, content: str = "") -> dict[str, str]:
        given = {**dict(self._http.headers), "Accept": accept}
        return {**given, "Content-Type": content} if content else given

    def _request(
        self,
        method: str,
        path: str,
        body: str | None = None,
        content: str = "",
        accept: str = "application/json",
        accepted: tuple[int, ...] = (),
    ) -> Json:
        answer = self._http.request(method, path, body=body, headers=self._build_headers(accept, content))
        if answer.status >= 400 and answer.status not in accepted:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data.decode()[:500]}")
        found: Json = json.loads(answer.data)
        return found
