"""A few verbs of the Kubernetes API over kept connections, quick enough to speak for thousands of containers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import urllib3

from .kubectl import METADATA
from .places import TOKEN, Places

Json = dict[str, Any]

PODS = "/api/v1/namespaces/s2ops/pods"
WORKFLOWS = "/apis/argoproj.io/v1alpha1/namespaces/s2ops/workflows"
RESULTS = "/apis/argoproj.io/v1alpha1/namespaces/s2ops/workflowtaskresults"

_METADATA = METADATA.format("PartialObjectMetadata")
_METADATA_LIST = METADATA.format("PartialObjectMetadataList")
_GONE = 410


class Api:
    """The administrator's connection to the API server."""

    def __init__(self, places: Places, connections: int = 16) -> None:
        self._http = urllib3.HTTPSConnectionPool(
            places.addresses.host,
            places.addresses.api,
            maxsize=connections,
            ca_certs=str(places.certificates / "apiserver.crt"),
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=urllib3.Timeout(connect=5, read=60),
            retries=urllib3.Retry(total=5, backoff_factor=0.2, status_forcelist=[429, 500, 502, 503, 504]),
        )

    def get(self, path: str) -> Json:
        """One object."""
        return self._ask("GET", path)

    def metadata(self, path: str, **query: str) -> list[Json]:
        """The metadata of all objects that the query takes in."""
        found: list[Json] = self._ask("GET", f"{path}?{urlencode(query)}", accept=_METADATA_LIST)["items"] or []
        return found

    def post(self, path: str, body: Json) -> None:
        """Make an object; one that is there already stays."""
        self._ask("POST", path, json.dumps(body), "application/json", also=(409,))

    def merge(self, path: str, body: Json) -> None:
        """Change some fields; an object that has gone meanwhile stays gone."""
        self._ask("PATCH", path, json.dumps(body), "application/merge-patch+json", also=(404,))

    def apply(self, path: str, manifest: str) -> None:
        """Server-side apply, as `kubectl apply --server-side` does."""
        self._ask("PATCH", f"{path}?fieldManager=kubectl&force=true", manifest, "application/apply-patch+yaml")

    def watch(self, path: str, **query: str) -> Iterator[tuple[str, Json]]:
        """(ADDED, MODIFIED or DELETED; metadata) of all objects that the query takes in, from now on, without end."""
        version = ""
        while True:
            if not version:
                listed = self._ask("GET", f"{path}?{urlencode(query)}", accept=_METADATA_LIST)
                version = str(listed["metadata"]["resourceVersion"])
                for one in listed["items"] or []:
                    yield "ADDED", one
            words = {**query, "watch": "true", "resourceVersion": version, "timeoutSeconds": "50"}
            for kind, found in self._events(f"{path}?{urlencode(words)}"):
                if kind == "ERROR":
                    version = ""
                    break
                version = str(found["metadata"]["resourceVersion"])
                yield kind, found

    def _events(self, path: str) -> Iterator[tuple[str, Json]]:
        answer = self._http.request("GET", path, headers=self._headers(_METADATA), preload_content=False)
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

    def _headers(self, accept: str, content: str = "") -> dict[str, str]:
        given = {**dict(self._http.headers), "Accept": accept}
        return {**given, "Content-Type": content} if content else given

    def _ask(
        self,
        method: str,
        path: str,
        body: str | None = None,
        content: str = "",
        accept: str = "application/json",
        also: tuple[int, ...] = (),
    ) -> Json:
        answer = self._http.request(method, path, body=body, headers=self._headers(accept, content))
        if answer.status >= 400 and answer.status not in also:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.data.decode()[:500]}")
        found: Json = json.loads(answer.data)
        return found
