"""How fast the networks run: the GPU's ceilings, each way to use it in one process, and through a real Triton.

    python benchmarks/bench_gpu_serving.py                            # what this machine can do, at full width on a GPU
    python benchmarks/bench_gpu_serving.py --width 16 --window 64 --batch 2 --clients 1 --seconds 1 --device cpu
    python benchmarks/bench_gpu_serving.py tune                         # measure the cuts of the fused kernels

Pixels are those of windows; useful ones leave out the halo, which is computed twice. Without --models the package's
networks are made as wide as asked, which costs what trained ones of that width cost (benchmarks/results/gpu-serving.md).
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import serving_load, serving_process, serving_tune
from benchmarks.make_serving_weights import operations, windows, write
from s2ops.constants import BANDS
from s2ops.inference.gpu.engine import GpuEngine
from s2ops.inference.gpu.quantization import PLANS
from s2ops.inference.sliding_window import HALO
from s2ops.inference.triton.server import Options
from s2ops.models.registry import LANDCOVER, find, tasks

APART = tuple(task.name for task in tasks(LANDCOVER))
"""The networks that do its tasks one by one."""

PARTS = ("ceilings", "plain", "engine", "triton", "landcover")


def main() -> None:
    given = _arguments()
    if given.what == "tune":
        serving_tune.main(given.width, given.window, given.batch, given.budget, given.json)
        return
    found: dict[str, Any] = {"command": " ".join(sys.argv), "torch": torch.__version__}
    device = torch.device(given.device)
    if device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    with tempfile.TemporaryDirectory() as folder:
        names = list(dict.fromkeys([given.network, *((LANDCOVER, *APART) if "landcover" in given.parts else ())]))
        write(Path(folder), names, given.models, given.width, given.window)
        for part in given.parts:
            print(f"-- {part}", file=sys.stderr, flush=True)
            try:
                found[part] = globals()[f"_{part}"](given, folder, device)
            except Exception as error:  # one part that cannot run here must not hide the others
                found[part] = {"failed": f"{type(error).__name__}: {error}"}
            print(json.dumps({part: found[part]}), file=sys.stderr, flush=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()  # the server of the next part is another process
            if given.json:
                given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(_report(found, given))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("measure", "tune"), default="measure")
    parser.add_argument("--models", help="folder or URI of weights; the package's by default")
    parser.add_argument("--network", default="scene-cloud")
    parser.add_argument("--width", type=int, default=64, help="channels of the first block")
    parser.add_argument("--window", type=int, default=1024, help="side of a window, pixels")
    parser.add_argument("--batch", type=int, default=4, help="windows computed at once")
    parser.add_argument("--clients", type=int, default=8, help="processes that ask Triton")
    parser.add_argument("--in-flight", type=int, default=3, help="requests of a client on their way")
    parser.add_argument("--instances", type=int, default=3, help="processes of Triton a model, threads of the engine")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each load")
    parser.add_argument("--budget", type=float, default=1.0, help="seconds for each measurement in one process")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--images", type=Path, help=".npy of (n, 4, y, x) levels to compare with float32 too")
    parser.add_argument("--price", type=float, default=3.50, help="dollars for a GPU hour")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def _useful(window: int) -> float:
    """Part of a window's pixels that no neighbour computes too."""
    return ((window - 2 * HALO) / window) ** 2


def _number(device: torch.device) -> int | None:
    return (device.index or 0) if device.type == "cuda" else None


def _ceilings(given: argparse.Namespace, _folder: str, device: torch.device) -> dict[str, float]:
    return serving_process.ceilings(device, given.budget)._asdict()


def _plain(given: argparse.Namespace, folder: str, device: torch.device) -> dict[str, float]:
    file = find(given.network, folder)
    return serving_process.plain_ways(file, windows(file.meta.bands, given.batch, given.window), device, given.budget)


def _engine(given: argparse.Namespace, folder: str, device: torch.device) -> dict[str, Any]:
    file = find(given.network, folder)
    images = windows(file.meta.bands, given.batch, given.window)
    found: dict[str, Any] = {}
    for plan in PLANS if device.type == "cuda" else PLANS[-1:]:
        engine = GpuEngine(file, _number(device), given.batch, (plan,), tolerance=1.0)
        ways = serving_process.engine_ways(engine, images, device, given.budget)
        changed = {"simulated": serving_process.changed(file, engine, images, device)}
        if given.images is not None:
            real = _fitted(np.load(given.images), file.meta.bands, given.window)
            changed["given"] = serving_process.changed(file, engine, real, device)
        found[engine.precision] = {"pixels_s": ways, "changed": changed}
        del engine
    engines = [GpuEngine(file, _number(device), given.batch) for _ in range(min(given.instances, 3))]
    found["chosen"] = engines[0].precision
    found["milliseconds"] = serving_process.stages(engines[0], images, device, given.budget)
    found["together"] = serving_process.together(engines, images, given.seconds)
    return found


def _fitted(images: np.ndarray, bands: tuple[str, ...], side: int) -> np.ndarray:
    """Windows of the given images, turned and mirrored beside themselves where they are smaller."""
    picked = images[:, [BANDS.index(band) for band in bands]]
    short = max(0, side - picked.shape[-1])
    return np.pad(picked, ((0, 0), (0, 0), (0, short), (0, short)), mode="symmetric")[:, :, :side, :side]


def _options(given: argparse.Namespace, folder: str, device: torch.device, only: tuple[str, ...]) -> Options:
    kind = "gpu" if device.type == "cuda" else "cpu"
    return Options(models=folder, device=kind, instances=given.instances, only=only)


def _triton(given: argparse.Namespace, folder: str, device: torch.device) -> dict[str, float]:
    options = _options(given, folder, device, (given.network,))
    return asdict(serving_load.load(options, [given.network], given.clients, given.in_flight, given.seconds, 300))


def _landcover(given: argparse.Namespace, folder: str, device: torch.device) -> dict[str, dict[str, float]]:
    found = {}
    for name, models in (("combined", (LANDCOVER,)), ("apart", APART)):
        options = _options(given, folder, device, tuple(models))
        load = serving_load.load(options, models, given.clients, given.in_flight, given.seconds, 300)
        found[name] = asdict(load)
        print(f"-- land cover, {name}: {load}", file=sys.stderr, flush=True)  # should the next one not start
    return found


def _report(found: dict[str, Any], given: argparse.Namespace) -> str:
    """A Markdown table, and what follows from it for large regions."""
    work, useful = operations(given.network, given.width), _useful(given.window)
    rows = [
        f"{found.get('gpu', 'CPU')}, {given.network}, width {given.width}, {work / 1e6:.3f} million operations a pixel",
        f"Windows of {given.window} ({100 * useful:.1f} % useful), batches of {given.batch}",
        "",
        "| | million pixels a second | useful |",
        "|---|---|---|",
    ]

    def row(name: str, pixels_s: float) -> None:
        rows.append(f"| {name} | {pixels_s / 1e6:.4g} | {pixels_s * useful / 1e6:.4g} |")

    for name in ("bf16", "int8"):
        if name in found.get("ceilings", {}):
            row(f"roofline of a {name} matrix product", found["ceilings"][name] / work)
    for name, value in found.get("plain", {}).items():
        row(name, value) if isinstance(value, float) else rows.append(f"| {name} | {value} | |")
    for plan, value in found.get("engine", {}).items():
        if isinstance(value, dict) and "pixels_s" in value:
            for name, pixels_s in value["pixels_s"].items():
                row(f"{name}, {plan}", pixels_s)
    if "together" in found.get("engine", {}):
        row(f"engines in threads, {found['engine']['chosen']}", found["engine"]["together"])
    triton = found.get("triton", {})
    if "pixels_s" in triton:
        row(f"through Triton, {given.clients} clients", triton["pixels_s"])
    for name, load in found.get("landcover", {}).items():
        if "pixels_s" in load:
            row(f"land cover through Triton, {name}", load["pixels_s"])
    if "pixels_s" in triton:
        rows += ["", *_prices(triton["pixels_s"] * useful, given.price)]
    return "\n".join(rows)


def _prices(useful_s: float, price: float) -> list[str]:
    """GPU hours and price of large regions at 10 m, one network, at the speed through Triton."""
    rows = [
        f"One network over every pixel, at {useful_s / 1e6:.4g} useful million a second and ${price:.2f} an hour:",
        "",
    ]
    for region, square_km, dates in (("the land surface", 130e6, 1), ("Canada, 4 dates", 5e6, 4)):
        hours = square_km * 1e4 * dates / useful_s / 3600
        rows.append(f"- {region}: {hours:,.2f} GPU hours, ${hours * price:,.2f}")
    return rows


if __name__ == "__main__":
    main()
