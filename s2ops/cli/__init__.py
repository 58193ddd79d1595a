"""The command line. `main` turns every error of ours into one line and its exit code."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Never

from s2ops.cli.app import app
from s2ops.errors import S2opsError, Terminated
from s2ops.runtime.malloc import keep_small
from s2ops.telemetry.log_config import configure_logging

_LONGEST = 500
"""Characters of an error's sentence that a cluster shows; each pod of a run may bring one."""


def main() -> None:
    """Entry point of `s2ops`."""
    keep_small()
    configure_logging("text")  # commands with --log-format replace it
    signal.signal(signal.SIGTERM, _stop)
    try:
        app(standalone_mode=True)
    except S2opsError as error:
        print(f"s2ops: {error}", file=sys.stderr)
        _tell_kubernetes(str(error))
        raise SystemExit(error.exit_code) from None
    except Terminated as told:
        print("s2ops: told to stop; run the same command again to continue", file=sys.stderr)
        raise SystemExit(told.exit_code) from None
    except KeyboardInterrupt:
        print("s2ops: stopped; run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None


def _stop(_: int, __: FrameType | None) -> Never:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not disturb the clean-up
    raise Terminated


def _tell_kubernetes(sentence: str) -> None:
    """Leave the error where the pod's status takes it from."""
    path = os.environ.get("S2OPS_TERMINATION_LOG")
    if path:
        Path(path).write_text(sentence[:_LONGEST])
