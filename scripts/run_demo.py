"""Demo (`make demo`): simulate a region, run the chain, compare with the truth, print the paths of the outputs."""

import sys
import time
from pathlib import Path

from s2ops.cli import main

TILES = ("32TPS", "32TPT", "32TQS", "32TQT", "33TUM", "33TUN")
"""Names of six tiles in the Alps on both sides of 12 degrees east, the border of UTM zones 32 and 33."""


def run_s2ops(*words: str) -> None:
    """Print and run one command of the command line in this process."""
    print(f"$ s2ops {' '.join(words)}", flush=True)
    sys.argv = ["s2ops", *words]
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise


def run_demo(folder: Path) -> None:
    """Run the demo below `folder`."""
    start = time.monotonic()
    world, out = folder / "world", folder / "run"
    tiles = [word for name in TILES for word in ("--tile", name)]
    run_s2ops("simulate", str(world), *tiles, "--dates", "6", "--resolution", "120", "--seed", "7")
    config = folder / "demo.yaml"
    config.write_text(
        f"region: {{tiles: [{', '.join(TILES)}]}}\n"
        "dates: {start: 2023-06-01, end: 2023-08-01}\n"
        f"catalog: {world / 'catalog.json'}\n"
        "max_cloud: 90\n"
        "resolution: 120\n"
        f"out: {out}\n"
    )
    run_s2ops("run", str(config))
    run_s2ops("truth", str(out), str(world))
    run_s2ops("verify", str(out))
    print(f"demo done in {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    run_demo(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
