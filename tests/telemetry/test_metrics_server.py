"""The door at which a run shows its metrics: what is refused, and that a run waits for its end to be seen."""

import socket
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import pytest

from s2ops.telemetry.metrics_server import _Scrapes
from tests.helpers.chain import s2ops


@pytest.mark.parametrize("place", ["0", "65536", "many", "localhost:", "1.2.3.4:http"])
def test_a_wrong_metrics_port_is_refused_with_what_is_wanted(place: str, tmp_path: Path) -> None:
    done = s2ops("run", tmp_path / "none.yaml", "--metrics-port", place)
    assert done.returncode == 2
    assert f"--metrics-port {place}: give a port from 1 to 65535" in done.stderr


def test_a_metrics_port_in_use_is_refused_before_any_work(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = s2ops("run", tmp_path / "none.yaml", "--metrics-port", port)
    assert done.returncode == 2
    assert done.stderr == f"s2ops: --metrics-port {port} is in use by another program: give another port\n"


class Nothing:
    """A collector without metrics."""

    def collect(self) -> list[Any]:
        return []


class Clock:
    """Time that passes only by sleeping, and something that happens at a moment of it."""

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


def test_a_run_that_nobody_scrapes_ends_at_once(clock: Clock) -> None:
    _Scrapes(Nothing()).wait_for_the_next()
    assert clock.now == 0


def test_a_run_that_is_scraped_waits_for_its_end_to_be_seen(clock: Clock) -> None:
    scrapes = _Scrapes(Nothing())
    scrapes.collect()
    clock.sleep(4)
    scrapes.collect()
    clock.later.append((8, scrapes.collect))
    scrapes.wait_for_the_next()
    assert clock.now == pytest.approx(8, abs=0.2)
    scrapes.wait_for_the_next()
    assert clock.now == pytest.approx(8 + 1.5 * 4, abs=0.5), "nobody comes any more"
