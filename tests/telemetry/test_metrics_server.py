"""Metrics endpoint: invalid ports are rejected, and a run waits for its final counts to be scraped."""

import socket
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest

from s2ops.telemetry.metrics_server import _ScrapeTracker
from tests.helpers.chain import run_s2ops


@pytest.mark.parametrize("place", ["0", "65536", "many", "localhost:", "1.2.3.4:http"])
def test_metrics_port_that_is_invalid_is_rejected_with_the_accepted_forms(place: str, tmp_path: Path) -> None:
    done = run_s2ops("run", tmp_path / "none.yaml", "--metrics-port", place)
    assert done.returncode == 2
    assert f"Invalid --metrics-port {place}: give a port from 1 to 65535" in done.stderr


def test_metrics_port_in_use_is_rejected_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_s2ops("run", tmp_path / "none.yaml", "--metrics-port", port)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"s2ops: Cannot open --metrics-port {port}: it is in use by another program; give another port.\n"
    )


class EmptyCollector:
    """Collector without metrics."""

    def collect(self) -> list[Any]:
        return []


class Clock:
    """Clock that advances only by sleeping, and calls functions at set times."""

    def __init__(self) -> None:
        self.now, self.later = 0.0, list[tuple[float, Callable[[], object]]]([(inf, object)])

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        while self.later[-1][0] <= self.now:
            self.later.pop()[1]()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("s2ops.telemetry.metrics_server.monotonic", lambda: made.now)
    monkeypatch.setattr("s2ops.telemetry.metrics_server.sleep", made.sleep)
    return made


def test_scrape_tracker_without_scrapes_does_not_wait(clock: Clock) -> None:
    _ScrapeTracker(EmptyCollector()).wait_for_next_scrape()
    assert clock.now == 0


def test_scrape_tracker_waits_for_the_next_scrape_and_at_most_one_and_a_half_intervals(clock: Clock) -> None:
    scrapes = _ScrapeTracker(EmptyCollector())
    scrapes.collect()
    clock.sleep(4)
    scrapes.collect()
    clock.later.append((8, scrapes.collect))
    scrapes.wait_for_next_scrape()
    assert clock.now == pytest.approx(8, abs=0.2)
    scrapes.wait_for_next_scrape()
    assert clock.now == pytest.approx(8 + 1.5 * 4, abs=0.5), "no scrape follows"
