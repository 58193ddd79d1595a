"""Command-line interface (CLI): `main` reports each error of s2ops as one line and an exit code."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Never

from s2ops.cli.app import app
from s2ops.errors import S2opsError, Terminated
from s2ops.runtime.malloc import limit_malloc_arenas
from s2ops.telemetry.log_config import configure_logging

_MAX_TERMINATION_MESSAGE_LENGTH = 500
"""Maximum length of an error message in the status of a pod, because each pod of a run may add one."""


def main() -> None:
    """Run the command line (entry point of `s2ops`)."""
    limit_malloc_arenas()
    configure_logging("text")  # commands with --log-format replace it
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        app(standalone_mode=True)
    except S2opsError as error:
        print(f"s2ops: {error}", file=sys.stderr)
        _write_termination_message(str(error))
        raise SystemExit(error.exit_code) from None
    except Terminated as signalled:
        print("s2ops: terminated; run the same command again to continue", file=sys.stderr)
        raise SystemExit(signalled.exit_code) from None
    except KeyboardInterrupt:
        print("s2ops: interrupted; run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None


def _raise_terminated(_: int, __: FrameType | None) -> Never:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the clean-up
    raise Terminated


def _write_termination_message(message: str) -> None:
    """Write the error to the file that Kubernetes copies to the status of the pod."""
    path = os.environ.get("S2OPS_TERMINATION_LOG")
    if path:
        Path(path).write_text(message[:_MAX_TERMINATION_MESSAGE_LENGTH])
