"""Helpers for tests of metrics: a real Prometheus, and a web server that serves a folder in byte ranges."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.triton import find_free_ports


def find_program(name: str) -> str:
    """Find prometheus or promtool; skip the test without it, or fail where services are required."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is missing: bash scripts/install-test-services.sh installs Debian's package prometheus"
        pytest.fail(reason) if os.environ.get("S2OPS_REQUIRE_SERVICES") == "1" else pytest.skip(reason)
    return found


@dataclass(frozen=True)
class Prometheus:
    """Running Prometheus server."""

    port: int
    folder: Path
    start: float

    @property
    def age_s(self) -> int:
        """Seconds since the start, rounded up."""
        return int(time.monotonic() - self.start) + 1

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query."""
        query = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{query}", timeout=60) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except urllib.error.HTTPError as error:
            pytest.fail(f"{expression}: {error.read().decode()}")
        return found

    def list_rules(self) -> list[dict[str, Any]]:
        """List all rules with their present state."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/rules", timeout=10) as answer:
            return [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]


@contextmanager
def start_prometheus(folder: Path, targets: Mapping[str, int], rules: Path) -> Iterator[Prometheus]:
    """Start a Prometheus that scrapes each target (port by job) twice a second: stages of a small run are short."""
    (port,) = find_free_ports(1)
    jobs = [{"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{at}"]}]} for job, at in targets.items()]
    settings = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": jobs,
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    start = time.monotonic()
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(
            [find_program("prometheus"), *words, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/-/ready", process)
        yield Prometheus(port, folder, start)
    finally:
        process.terminate()
        process.wait(20)


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert process.poll() is None, "prometheus ended"
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer in 30 s")


@contextmanager
def serve_folder(folder: Path, refusals: int) -> Iterator[str]:
    """Serve a folder on loopback in byte ranges, after `refusals` responses of 503; yield its URL."""
    left = iter(range(refusals))

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._send_response(body=False)

        def do_GET(self) -> None:
            self._send_response(body=True)

        def _send_response(self, *, body: bool) -> None:
            path = folder / self.path.lstrip("/")
            busy = next(left, None) is not None
            if busy or not path.is_file():
                self.send_response(503 if busy else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data, wanted = path.read_bytes(), re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            first, last = (int(wanted[1]), int(wanted[2] or len(data))) if wanted else (0, len(data))
            part = data[first : last + 1]
            self.send_response(206 if wanted else 200)
            if wanted:
                self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(part) if body else len(data)))
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            if body:
                self.wfile.write(part)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()
