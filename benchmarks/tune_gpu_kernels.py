"""Tuning of the fused kernels: measure which tiling is fastest for each layer (`fused_unet.choose_tiling`)."""

import json
from dataclasses import astuple
from pathlib import Path

import torch

from benchmarks.bench_gpu_process import measure_seconds
from benchmarks.make_serving_weights import cut_windows, widen_network
from s2ops.inference.gpu.calibration_images import load_calibration_images
from s2ops.inference.gpu.fused_unet import FusedUNet, KernelTiling
from s2ops.inference.gpu.layers import FusedLayer
from s2ops.inference.gpu.quantization import Precision, measure_activation_peaks
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import find_weights
from s2ops.models.unet import UNet

_NARROW = (
    (16, 8, 4, 3),
    (16, 8, 4, 4),
    (16, 16, 4, 3),
    (16, 16, 4, 4),
    (32, 8, 4, 3),
    (32, 8, 4, 4),
    (16, 16, 8, 4),
    (32, 16, 8, 3),
)
_WIDE = (
    (16, 8, 128, 4, 3),
    (16, 8, 128, 4, 4),
    (16, 8, 128, 8, 3),
    (16, 16, 128, 8, 3),
    (16, 16, 128, 8, 4),
    (32, 8, 128, 8, 3),
    (16, 8, 256, 8, 3),
    (16, 8, 256, 8, 4),
)
_FIRST = ((16, 8, 4), (16, 16, 4), (16, 16, 8), (8, 8, 4), (32, 8, 8), (8, 16, 4))


def _list_candidates(layer: FusedLayer, depth: int) -> list[KernelTiling]:
    """Return the tilings that fit into the registers."""
    out = layer.out_channels
    if layer.kind == "first":
        return [KernelTiling(high, wide, out, depth, warps, 1) for high, wide, warps in _FIRST]
    if out < 128 or layer.kind == "last":
        return [KernelTiling(high, wide, out, depth, warps, stages) for high, wide, warps, stages in _NARROW]
    wide_enough = [one for one in _WIDE if out % one[2] == 0]
    return [
        KernelTiling(high, wide, channels, depth, warps, stages) for high, wide, channels, warps, stages in wide_enough
    ]


def main(
    width: int, window: int, batch: int, budget_s: float, path: Path | None, share: tuple[int, int] = (0, 1)
) -> None:
    """Print the fastest tilings of each layer in both precisions.

    Args:
        width: Width of the network.
        window: Side of the windows in pixels.
        batch: Number of windows per batch.
        budget_s: Seconds per layer, about.
        path: JSON file for all measurements, or None.
        share: (n, step): measure every `step`-th layer from layer n on, to split the work.
    """
    device = torch.device("cuda")
    model = load_into_torch(find_weights("building").path)
    assert isinstance(model, UNet)
    wide = widen_network(model, width).double().to(device)
    peaks = measure_activation_peaks(wide, torch.from_numpy(load_calibration_images()[:, :3]).to(device))
    image = torch.from_numpy(cut_windows(("red", "green", "blue"), batch, window)).to(device)
    out = torch.zeros(batch, 2, window, window, dtype=torch.uint8, device=device)
    rows = []
    precisions: tuple[Precision, ...] = ("int8", "float16")
    for precision in precisions:
        network = FusedUNet(wide, image, out, precision, peaks)
        network.run(batch)
        for layer in network.layers[share[0] :: share[1]]:
            depth = min(128 if precision == "int8" else 64, *layer.channels)
            tried = sorted(_time_candidates(network, layer, batch, depth, device, budget_s), key=lambda one: one[0])
            rows.append({"plan": precision, "layer": layer.name, "cuts": tried})
            work = 2 * layer.weight.numel() * batch * (window >> layer.level) ** 2 / (4 if layer.kind == "join" else 1)
            text = ", ".join(f"{tuple(tiling)} {1000 * took:.3f} ms" for took, tiling in tried[:3])
            print(f"{precision:8s} {layer.name:13s} {work / tried[0][0] / 1e12:5.0f} T/s  {text}", flush=True)
    if path:
        path.write_text(json.dumps(rows))


def _time_candidates(
    network: FusedUNet, layer: FusedLayer, batch: int, depth: int, device: torch.device, budget_s: float
) -> list[tuple[float, list[int]]]:
    """Measure the seconds of each candidate tiling; skip tilings that the GPU rejects."""
    found = []
    for tiling in _list_candidates(layer, depth):
        try:
            kernel, programs, arguments = network.prepare_launch(layer, tiling)
            took = measure_seconds(lambda: kernel[(programs * batch,)](**arguments), device, budget_s / 20)  # noqa: B023 -- called at once
        except Exception as error:  # Triton raises many types when a tiling needs too many resources
            print(f"  {layer.name} {tiling}: {type(error).__name__}", flush=True)
            continue
        found.append((took, list(astuple(tiling))))
    return found
