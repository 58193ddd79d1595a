"""The port that Prometheus scrapes: sums of what all processes of a run have counted."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from s2ops.errors import ConfigError, S2opsError
from s2ops.telemetry.gdal_network_stats import ENABLED

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"
_LINGER_S: Final = 60.0
"""A run that is through waits no longer for Prometheus to see it."""


@contextmanager
def serving(place: str | None) -> Iterator[None]:
    """Serve /metrics at PORT (loopback only) or ADDRESS:PORT while the block runs; None serves nothing.

    The processes that the block starts count into the same folder. Call it before anything is counted: the client
    library looks for that folder at its first import. Raises ConfigError where the port cannot be had.
    """
    if place is None:
        yield
        return
    address, port = _parsed(place)
    if "prometheus_client" in sys.modules and _FOLDER not in os.environ:
        raise RuntimeError(
            "prometheus_client was imported before metrics_server.serving, so processes cannot share counts"
        )
    with TemporaryDirectory(prefix="s2ops-metrics-") as folder:
        os.environ.update({_FOLDER: folder, ENABLED[0]: ENABLED[1]})  # worker processes inherit both
        from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 -- after the line above
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        registry, scrapes = CollectorRegistry(), _Scrapes(MultiProcessCollector(None))  # type: ignore[no-untyped-call]
        registry.register(scrapes)
        try:
            server, thread = start_http_server(port, address, registry)
        except OSError as error:
            raise ConfigError(_refused(place, error)) from error
        try:
            yield
        except S2opsError:
            scrapes.wait_for_the_next()
            raise
        else:
            scrapes.wait_for_the_next()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Scrapes:
    """Another collector, and when it was asked."""

    def __init__(self, inner: "Collector") -> None:
        self._inner = inner
        self._times: list[float] = []

    def collect(self) -> "Iterable[Metric]":
        """The sums now."""
        self._times = [*self._times[-1:], monotonic()]
        return self._inner.collect()

    def wait_for_the_next(self) -> None:
        """Until the last state has been seen, where somebody looks regularly: one of their intervals at most."""
        if len(self._times) < 2:
            return
        before, last = self._times
        end = last + min(1.5 * (last - before), _LINGER_S)
        while self._times[-1] == last and monotonic() < end:
            sleep(0.1)


def _parsed(place: str) -> tuple[str, int]:
    """(address, port) of '9090', '0.0.0.0:9090' or '[::]:9090'."""
    address, _, port = place.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"--metrics-port {place}: give a port from 1 to 65535, or ADDRESS:PORT such as 0.0.0.0:9090")
    return address.strip("[]") or "127.0.0.1", int(port)


def _refused(place: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"--metrics-port {place} is in use by another program: give another port"
    return f"--metrics-port {place} cannot be opened ({error.strerror}): give a free port above 1023 of this machine"
