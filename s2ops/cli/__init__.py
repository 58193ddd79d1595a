"""The command line. `main` turns every error of ours into one line and its exit code."""

import sys

from s2ops.cli.app import app
from s2ops.errors import S2opsError


def main() -> None:
    """Entry point of `s2ops`."""
    try:
        app(standalone_mode=True)
    except S2opsError as error:
        print(f"s2ops: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        print("s2ops: stopped; run the same command again to continue", file=sys.stderr)
        raise SystemExit(130) from None
