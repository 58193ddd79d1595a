"""HTTP server of `s2ops view` (uvicorn): opens the port, starts the browser, stops on Ctrl-C or SIGTERM."""

import errno
import socket
import sys
import webbrowser
from collections.abc import Mapping
from typing import Final

import uvicorn

from s2ops.errors import ConfigError, Terminated
from s2ops.view.app import build_application
from s2ops.view.basemap import Basemap
from s2ops.view.run import ViewedRun

_LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
"""Host names of this machine."""
_MAX_PRINTED_PROBLEMS: Final = 5
"""Maximum number of damaged files that are printed at the start."""


def _list_problems(runs: Mapping[str, ViewedRun]) -> list[str]:
    """List the files that could not be read so far, one line each; the page lists all, also those found later."""
    found = [f"damaged     {problem}" for run in runs.values() for problem in run.problems]
    more = len(found) - _MAX_PRINTED_PROBLEMS
    return found[:_MAX_PRINTED_PROBLEMS] + ([f"            and {more} more: the page lists them"] if more > 0 else [])


def open_listening_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket (port 0 takes any free port); raise ConfigError if the address cannot be used."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ConfigError(f"--port {port} is in use by another program; give another port.") from error
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"--host {host} --port {port} cannot be opened: {why}; "
            "give an address of this machine, and a port above 1023."
        ) from error
    return listening


def serve(
    runs: Mapping[str, ViewedRun], listening: socket.socket, basemap: Basemap | None, threads: int, browse: bool
) -> None:
    """Serve the web application until Ctrl-C or SIGTERM; `browse` opens the page in the browser."""
    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    hosts = [host, *_LOOPBACK_HOSTS, "[::1]"] if host in _LOOPBACK_HOSTS else ["*"]
    site = build_application(runs, hosts, basemap, threads)
    config = uvicorn.Config(
        site, log_level="warning", access_log=False, server_header=False, lifespan="off", timeout_keep_alive=60
    )
    try:
        print(f"map         {url}  (Ctrl-C ends it)", flush=True)
        for line in _list_problems(runs):
            print(line, file=sys.stderr, flush=True)
        if browse:
            webbrowser.open(url)
        uvicorn.Server(config).run(sockets=[listening])
    except (KeyboardInterrupt, Terminated):
        pass  # the usual ways to stop the server
    finally:
        listening.close()
        for run in runs.values():
            run.close()
