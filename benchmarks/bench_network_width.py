"""Benchmark of network width on a CPU: `python benchmarks/bench_network_width.py [ONNX ...]`.

Prints the file size and the throughput of one core, for untrained building networks of several widths and for the given
ONNX files. Windows are 512 pixels, as in a run. Only processor time counts, not waiting.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime

from s2ops.models.onnx_export import export_to_onnx
from s2ops.models.registry import NETWORKS, ModelMeta
from s2ops.models.unet import UNet

WIDTHS = (8, 16, 24, 32, 64)
WINDOW = 512
ROUNDS = 3


def export_untrained(width: int, folder: Path) -> Path:
    """Export a network of that width with random weights as ONNX."""
    spec = NETWORKS["building"]
    meta = ModelMeta(
        name="building", version="0", bands=spec.bands, classes=spec.classes, window=spec.window, width=width,
        levels="tone-curve", temperature=1.0, trained_on=("nothing",), scores={}, licence="Apache-2.0",
    )  # fmt: skip
    path = folder / f"width-{width}.onnx"
    export_to_onnx(UNet(len(spec.bands), len(spec.classes), width), meta, path)
    return path


def measure_throughput(path: Path) -> float:
    """Measure megapixels per second of processor time of one core: best of some rounds after a warm-up."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    image = np.random.default_rng(0).integers(1, 255, (1, given.shape[1], WINDOW, WINDOW), dtype=np.uint8)
    best = float("inf")
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        session.run(None, {given.name: image})
        best = min(best, time.process_time() - start)
    return WINDOW**2 / best / 1e6


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [export_untrained(width, Path(folder)) for width in WIDTHS] + [Path(name) for name in sys.argv[1:]]
        for path in paths:
            print(f"{path.stem:20} {path.stat().st_size / 1e6:6.1f} MB {measure_throughput(path):6.2f} Mpx/s a core")


if __name__ == "__main__":
    main()
