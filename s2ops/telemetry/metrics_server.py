"""Metrics endpoint (/metrics) that Prometheus scrapes: sums over all processes of a run."""

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

from s2ops.errors import ConfigError, S2opsError
from s2ops.telemetry.gdal_network_stats import NETWORK_STATS_OPTION

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of the client library: folder into which several processes count."""

_MAX_LINGER_S: Final = 60.0
"""Maximum time in seconds that a finished run waits for a last scrape."""


@contextmanager
def serve_metrics(place: str | None) -> Iterator[None]:
    """Serve /metrics within a `with` block.

    The processes that the block starts count into the same folder. Call it before anything is counted: the client
    library looks for that folder at its first import.

    Args:
        place: PORT (loopback only) or ADDRESS:PORT; None serves nothing.

    Raises:
        ConfigError: If the port is invalid or cannot be opened.
    """
    if place is None:
        yield
        return
    address, port = _parse_place(place)
    if "prometheus_client" in sys.modules and _FOLDER_VARIABLE not in os.environ:
        raise RuntimeError("prometheus_client was imported before serve_metrics, so processes cannot share counts")
    with TemporaryDirectory(prefix="s2ops-metrics-") as folder:
        os.environ.update({_FOLDER_VARIABLE: folder, **dict([NETWORK_STATS_OPTION])})  # worker processes inherit both
        from prometheus_client import CollectorRegistry, start_http_server  # noqa: PLC0415 -- reads _FOLDER_VARIABLE
        from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415

        registry, scrapes = CollectorRegistry(), _ScrapeTracker(MultiProcessCollector(None))  # type: ignore[no-untyped-call]
        registry.register(scrapes)
        try:
            server, thread = start_http_server(port, address, registry)
        except OSError as error:
            raise ConfigError(_describe_port_error(place, error)) from error
        try:
            yield
        except S2opsError:
            scrapes.wait_for_next_scrape()
            raise
        else:
            scrapes.wait_for_next_scrape()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _ScrapeTracker:
    """Collector that notes when it is scraped, around another collector."""

    def __init__(self, inner: "Collector") -> None:
        self._inner = inner
        self._times: list[float] = []

    def collect(self) -> "Iterable[Metric]":
        """Return the present sums."""
        self._times = [*self._times[-1:], monotonic()]
        return self._inner.collect()

    def wait_for_next_scrape(self) -> None:
        """Wait until the final counts are scraped, at most 1.5 scrape intervals; return at once if nothing scrapes."""
        if len(self._times) < 2:
            return
        before, last = self._times
        end = last + min(1.5 * (last - before), _MAX_LINGER_S)
        while self._times[-1] == last and monotonic() < end:
            sleep(0.1)


def _parse_place(place: str) -> tuple[str, int]:
    """Parse '9090', '0.0.0.0:9090' or '[::]:9090' into address and port."""
    address, _, port = place.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"Invalid --metrics-port {place}: give a port from 1 to 65535, or ADDRESS:PORT such as 0.0.0.0:9090."
        )
    return address.strip("[]") or "127.0.0.1", int(port)


def _describe_port_error(place: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Cannot open --metrics-port {place}: it is in use by another program; give another port."
    return f"Cannot open --metrics-port {place}: {error.strerror}; give a free port above 1023 of this machine."
