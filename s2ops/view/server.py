"""Start and stop: the port, the browser, and uvicorn."""

import errno
import socket
import sys
import webbrowser
from collections.abc import Mapping
from typing import Final

import uvicorn

from s2ops.errors import ConfigError, Stopped
from s2ops.view.app import application
from s2ops.view.basemap import Basemap
from s2ops.view.run import Run

_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_MOST_LINES: Final = 5


def _troubles(runs: Mapping[str, Run]) -> list[str]:
    """What could not be read so far, a line each; the page lists all of it, and what is found later."""
    found = [f"damaged     {problem}" for run in runs.values() for problem in run.problems]
    more = len(found) - _MOST_LINES
    return found[:_MOST_LINES] + ([f"            and {more} more: the page lists them"] if more > 0 else [])


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there; ConfigError where it cannot be had. Port 0 takes any free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ConfigError(f"--port {port} is in use by another program: give another port") from error
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"--host {host} --port {port} cannot be opened ({why}): give an address of this machine, a port above 1023"
        ) from error
    return listening


def serve(
    runs: Mapping[str, Run], listening: socket.socket, basemap: Basemap | None, threads: int, browse: bool
) -> None:
    """Answer requests until told to stop (Ctrl-C or SIGTERM)."""
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    hosts = [host, *_LOOPBACK, "[::1]"] if host in _LOOPBACK else ["*"]
    site = application(runs, hosts, basemap, threads)
    config = uvicorn.Config(
        site, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_keep_alive=60
    )
    try:
        print(f"map         {url}  (Ctrl-C ends it)", flush=True)
        for line in _troubles(runs):
            print(line, file=sys.stderr, flush=True)
        if browse:
            webbrowser.open(url)
        uvicorn.Server(config).run(sockets=[listening])
    except (KeyboardInterrupt, Stopped):
        pass  # the usual ways to end it
    finally:
        listening.close()
        for run in runs.values():
            run.close()
