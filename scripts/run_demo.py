"""`make demo`: simulate a region, run the chain over it, score it against the truth, say where everything lies."""

import sys
import time
from pathlib import Path

from s2ops.cli import main

TILES = ("32TPS", "32TPT", "32TQS", "32TQT", "33TUM", "33TUN")
"""Six tiles in the Alps on both sides of 12 degrees east, where UTM zone 32 meets 33."""


def s2ops(*words: str) -> None:
    """Run one command of the command line in this process, and show it."""
    print(f"$ s2ops {' '.join(words)}", flush=True)
    sys.argv = ["s2ops", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


def demo(folder: Path) -> None:
    """The whole of it under `folder`."""
    start = time.monotonic()
    world, out = folder / "world", folder / "run"
    tiles = [word for name in TILES for word in ("--tile", name)]
    s2ops("simulate", str(world), *tiles, "--dates", "6", "--resolution", "120", "--seed", "7")
    config = folder / "demo.yaml"
    config.write_text(
        f"region: {{tiles: [{', '.join(TILES)}]}}\n"
        "dates: {start: 2023-06-01, end: 2023-08-01}\n"
        f"catalog: {world / 'catalog.json'}\n"
        "max_cloud: 90\n"
        "resolution: 120\n"
        f"out: {out}\n"
    )
    s2ops("run", str(config))
    s2ops("truth", str(out), str(world))
    s2ops("verify", str(out))
    print(f"demo done in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
