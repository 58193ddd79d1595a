"""Serving benchmark: the GPU's peak rates, each way to run a network in one process, and throughput through Triton.

    python benchmarks/bench_gpu_serving.py                            # everything at full width, on a GPU
    python benchmarks/bench_gpu_serving.py --width 16 --window 64 --batch 2 --clients 1 --seconds 1 --device cpu
    python benchmarks/bench_gpu_serving.py tune                       # measure the tilings of the fused kernels

Pixels are counted in whole windows; useful pixels exclude the halo, which is computed twice. Without --models the
package's networks are widened to --width, which costs as much as networks trained at that width
(benchmarks/results/gpu-serving.md).
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import bench_gpu_process, bench_triton_load, tune_gpu_kernels
from benchmarks.make_serving_weights import count_operations, cut_windows, write_weights
from s2ops.constants import BANDS
from s2ops.inference.gpu.engine import GpuEngine
from s2ops.inference.gpu.quantization import PRECISIONS
from s2ops.inference.sliding_window import WINDOW_HALO_PX
from s2ops.inference.triton.server import ServerOptions
from s2ops.models.registry import LANDCOVER, find_weights, list_tasks

SINGLE_TASK_NETWORKS: Final = tuple(task.name for task in list_tasks(LANDCOVER))
"""Networks that compute the tasks of the land-cover network separately."""


def main() -> None:
    """Run the chosen parts; print a table and write all figures as JSON."""
    given = _parse_arguments()
    if given.what == "tune":
        tune_gpu_kernels.main(given.width, given.window, given.batch, given.budget, given.json)
        return
    found: dict[str, Any] = {"command": " ".join(sys.argv), "torch": torch.__version__}
    device = torch.device(given.device)
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    with tempfile.TemporaryDirectory() as folder:
        landcover = (LANDCOVER, *SINGLE_TASK_NETWORKS) if "landcover" in given.parts else ()
        names = list(dict.fromkeys([given.network, *landcover]))
        write_weights(Path(folder), names, given.models, given.width, given.window)
        for part in given.parts:
            print(f"-- {part}", file=sys.stderr, flush=True)
            try:
                found[part] = PARTS[part](given, folder, device)
            except Exception as error:  # a part that cannot run here must not prevent the others
                found[part] = {"failed": f"{type(error).__name__}: {error}"}
            print(json.dumps({part: found[part]}), file=sys.stderr, flush=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()  # the server of the next part is another process
            if given.json:
                given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(_report(found, given))


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("measure", "tune"), default="measure")
    parser.add_argument("--models", help="folder or URI of the weights; default: the package's")
    parser.add_argument("--network", default="scene-cloud")
    parser.add_argument("--width", type=int, default=64, help="number of channels of the first block")
    parser.add_argument("--window", type=int, default=1024, help="side of a window in pixels")
    parser.add_argument("--batch", type=int, default=4, help="number of windows per batch")
    parser.add_argument("--clients", type=int, default=8, help="number of client processes of Triton")
    parser.add_argument("--in-flight", type=int, default=3, help="number of concurrent requests per client")
    parser.add_argument("--instances", type=int, default=3, help="processes per Triton model, threads of the engine")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each load in seconds")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds per measurement in one process")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=Path, help=".npy file of levels (n, 4, y, x) to compare with float32 too")
    parser.add_argument("--price", type=float, default=3.50, help="price of a GPU hour in dollars")
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _compute_useful_fraction(window: int) -> float:
    """Compute the fraction of a window's pixels that no neighbouring window computes too."""
    return ((window - 2 * WINDOW_HALO_PX) / window) ** 2


def _get_device_number(device: torch.device) -> int | None:
    return (device.index or 0) if device.type == "cuda" else None


def _measure_ceilings(given: argparse.Namespace, _folder: str, device: torch.device) -> dict[str, float]:
    return bench_gpu_process.measure_ceilings(device, given.budget)._asdict()


def _measure_torch(given: argparse.Namespace, folder: str, device: torch.device) -> dict[str, float]:
    file = find_weights(given.network, folder)
    images = cut_windows(file.meta.bands, given.batch, given.window)
    return bench_gpu_process.measure_torch_ways(file, images, device, given.budget)


def _measure_engine(given: argparse.Namespace, folder: str, device: torch.device) -> dict[str, Any]:
    file = find_weights(given.network, folder)
    number = _get_device_number(device)
    images = cut_windows(file.meta.bands, given.batch, given.window)
    found: dict[str, Any] = {}
    for precision in PRECISIONS if device.type == "cuda" else PRECISIONS[-1:]:
        engine = GpuEngine(file, number, given.batch, (precision,), max_changed=1.0)
        ways = bench_gpu_process.measure_engine_ways(engine, images, device, given.budget)
        changed = {"simulated": bench_gpu_process.measure_deviation(file, engine, images, device)}
        if given.images is not None:
            real = _fit_to_window(np.load(given.images), file.meta.bands, given.window)
            changed["given"] = bench_gpu_process.measure_deviation(file, engine, real, device)
        found[engine.precision] = {"pixels_s": ways, "changed": changed}
        del engine
    engines = [GpuEngine(file, number, given.batch) for _ in range(min(given.instances, 3))]
    found["chosen"] = engines[0].precision
    found["milliseconds"] = bench_gpu_process.measure_stages(engines[0], images, device, given.budget)
    found["together"] = bench_gpu_process.measure_engines_in_threads(engines, images, given.seconds)
    return found


def _fit_to_window(images: np.ndarray, bands: tuple[str, ...], side: int) -> np.ndarray:
    """Crop the images to windows; pad smaller images symmetrically."""
    picked = images[:, [BANDS.index(band) for band in bands]]
    short = max(0, side - picked.shape[-1])
    return np.pad(picked, ((0, 0), (0, 0), (0, short), (0, short)), mode="symmetric")[:, :, :side, :side]


def _build_options(
    given: argparse.Namespace, folder: str, device: torch.device, only: tuple[str, ...]
) -> ServerOptions:
    kind = "gpu" if device.type == "cuda" else "cpu"
    return ServerOptions(models=folder, device=kind, instances=given.instances, only=only)


def _measure_load(
    given: argparse.Namespace, folder: str, device: torch.device, models: tuple[str, ...]
) -> dict[str, float]:
    options = _build_options(given, folder, device, models)
    load = bench_triton_load.measure_load(options, models, given.clients, given.in_flight, given.seconds, 300)
    return asdict(load)


def _measure_triton(given: argparse.Namespace, folder: str, device: torch.device) -> dict[str, float]:
    return _measure_load(given, folder, device, (given.network,))


def _measure_landcover(given: argparse.Namespace, folder: str, device: torch.device) -> dict[str, dict[str, float]]:
    found = {}
    for name, models in (("combined", (LANDCOVER,)), ("apart", SINGLE_TASK_NETWORKS)):
        found[name] = _measure_load(given, folder, device, models)
        # printed now, in case the next server does not start
        print(f"-- land cover, {name}: {found[name]}", file=sys.stderr, flush=True)
    return found


PARTS: Final[dict[str, Callable[[argparse.Namespace, str, torch.device], dict[str, Any]]]] = {
    "ceilings": _measure_ceilings,
    "plain": _measure_torch,
    "engine": _measure_engine,
    "triton": _measure_triton,
    "landcover": _measure_landcover,
}
"""Parts of the benchmark by name."""


def _report(found: dict[str, Any], given: argparse.Namespace) -> str:
    """Report the figures as a Markdown table, with the resulting costs of large regions."""
    work, useful = count_operations(given.network, given.width), _compute_useful_fraction(given.window)
    device = found.get("gpu", "CPU")
    rows = [
        f"{device}, {given.network}, width {given.width}, {work / 1e6:.3f} million operations per pixel",
        f"Windows of {given.window} ({100 * useful:.1f} % useful), batches of {given.batch}",
        "",
        "| | million pixels per second | useful |",
        "|---|---|---|",
    ]

    def add_row(name: str, pixels_s: float) -> None:
        rows.append(f"| {name} | {pixels_s / 1e6:.4g} | {pixels_s * useful / 1e6:.4g} |")

    for name in ("bf16", "int8"):
        if name in found.get("ceilings", {}):
            add_row(f"roofline of a {name} matrix product", found["ceilings"][name] / work)
    for name, value in found.get("plain", {}).items():
        add_row(name, value) if isinstance(value, float) else rows.append(f"| {name} | {value} | |")
    for precision, value in found.get("engine", {}).items():
        if isinstance(value, dict) and "pixels_s" in value:
            for name, pixels_s in value["pixels_s"].items():
                add_row(f"{name}, {precision}", pixels_s)
    if "together" in found.get("engine", {}):
        add_row(f"engines in threads, {found['engine']['chosen']}", found["engine"]["together"])
    triton = found.get("triton", {})
    if "pixels_s" in triton:
        add_row(f"through Triton, {given.clients} clients", triton["pixels_s"])
    for name, load in found.get("landcover", {}).items():
        if "pixels_s" in load:
            add_row(f"land cover through Triton, {name}", load["pixels_s"])
    if "pixels_s" in triton:
        rows += ["", *_format_costs(triton["pixels_s"] * useful, given.price)]
    return "\n".join(rows)


def _format_costs(useful_s: float, price: float) -> list[str]:
    """Format GPU hours and costs of large regions at 10 m for one network at the throughput through Triton."""
    speed = f"{useful_s / 1e6:.4g} million useful pixels per second"
    rows = [f"One network over every pixel, at {speed} and ${price:.2f} per hour:", ""]
    for region, square_km, dates in (("the land surface", 130e6, 1), ("Canada, 4 dates", 5e6, 4)):
        hours = square_km * 1e4 * dates / useful_s / 3600
        rows.append(f"- {region}: {hours:,.2f} GPU hours, ${hours * price:,.2f}")
    return rows


if __name__ == "__main__":
    main()
