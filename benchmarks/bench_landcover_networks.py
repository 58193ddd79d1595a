"""Benchmark of the choices of land-cover networks on a CPU: `python benchmarks/bench_landcover_networks.py [MODELS]`.

Prints the processor time of one core per million pixels for each choice, and its ratio to the shared network. Rounds
alternate between the choices, because the speed of a shared machine changes within minutes. `NETWORK_EFFORT` of
`s2ops/cost/work_units.py` contains the ratios.
"""

import sys
from functools import partial
from statistics import median
from time import thread_time

import numpy as np

from s2ops.inference.landcover_networks import open_landcover_segmenter
from s2ops.inference.onnx import open_segmenter
from s2ops.models.registry import LANDCOVER_NETWORKS

WINDOWS = 4
ROUNDS = 9


def main() -> None:
    """Print the table."""
    open_network = partial(open_segmenter, models=sys.argv[1] if len(sys.argv) > 1 else None)
    opened = {choice: open_landcover_segmenter(choice, open_network) for choice in LANDCOVER_NETWORKS}
    side = opened["shared"].window
    windows = np.random.default_rng(0).integers(1, 255, (WINDOWS, 4, side, side), dtype=np.uint8)
    seconds: dict[str, list[float]] = {choice: [] for choice in opened}
    for _ in range(ROUNDS):
        for choice, segmenter in opened.items():
            start = thread_time()
            segmenter.predict(windows)
            seconds[choice].append((thread_time() - start) / (WINDOWS * side**2 / 1e6))
    for choice, found in seconds.items():
        ratios = [one / shared for one, shared in zip(found, seconds["shared"], strict=True)]
        print(f"{choice:10} {median(found):6.2f} s/Mpx {median(ratios):6.2f} times shared")


if __name__ == "__main__":
    main()
