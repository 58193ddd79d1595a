"""`python -m s2ops.models.datasets PACKED OUT --patches N --processes P`: make the pools of samples for training."""

import argparse
from pathlib import Path

from s2ops.models.datasets.make import make_pools
from s2ops.models.datasets.pack import load

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packed", type=Path, help="the .npz of real scenes (docs/train.md)")
    parser.add_argument("out", type=Path, help="folder of the pools")
    parser.add_argument("--patches", type=int, default=8000, help="simulated samples")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    make_pools(given.out, load(given.packed), given.patches, given.processes)
