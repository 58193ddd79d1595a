"""Measure how the fused kernels should cut each layer of a network: what `gpu_fused.cut` then says."""

import json
from dataclasses import astuple
from pathlib import Path

import torch

from benchmarks.bench_gpu_process import seconds_of
from benchmarks.make_serving_weights import widened, windows
from s2ops.inference.gpu import calibration_images
from s2ops.inference.gpu.fused_unet import Cut, FusedUNet
from s2ops.inference.gpu.layers import Layer
from s2ops.inference.gpu.quantization import Plan, peaks
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import find
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


def _candidates(layer: Layer, depth: int) -> list[Cut]:
    """Cuts that fit the registers."""
    if layer.kind == "first":
        return [Cut(high, wide, layer.out, depth, warps, 1) for high, wide, warps in _FIRST]
    if layer.out < 128 or layer.kind == "last":
        return [Cut(high, wide, layer.out, depth, warps, stages) for high, wide, warps, stages in _NARROW]
    wide_enough = [one for one in _WIDE if layer.out % one[2] == 0]
    return [Cut(high, wide, channels, depth, warps, stages) for high, wide, channels, warps, stages in wide_enough]


def main(
    width: int, window: int, batch: int, budget_s: float, path: Path | None, share: tuple[int, int] = (0, 1)
) -> None:
    """Print the fastest cuts of each layer in both precisions; of `share` (n, of), every `of`-th layer from n on."""
    device = torch.device("cuda")
    model = load_into_torch(find("building").path)
    assert isinstance(model, UNet)
    wide = widened(model, width).double().to(device)
    found = peaks(wide, torch.from_numpy(calibration_images.images()[:, :3]).to(device))
    image = torch.from_numpy(windows(("red", "green", "blue"), batch, window)).to(device)
    out = torch.zeros(batch, 2, window, window, dtype=torch.uint8, device=device)
    rows = []
    plans: tuple[Plan, ...] = ("int8", "float16")
    for plan in plans:
        network = FusedUNet(wide, image, out, plan, found)
        network.run(batch)
        for layer in network.layers[share[0] :: share[1]]:
            depth = min(128 if plan == "int8" else 64, *layer.channels)
            tried = sorted(_tried(network, layer, batch, depth, device, budget_s), key=lambda one: one[0])
            rows.append({"plan": plan, "layer": layer.name, "cuts": tried})
            work = 2 * layer.weight.numel() * batch * (window >> layer.level) ** 2 / (4 if layer.kind == "join" else 1)
            text = ", ".join(f"{tuple(cut)} {1000 * took:.3f} ms" for took, cut in tried[:3])
            print(f"{plan:8s} {layer.name:13s} {work / tried[0][0] / 1e12:5.0f} T/s  {text}", flush=True)
    if path:
        path.write_text(json.dumps(rows))


def _tried(
    network: FusedUNet, layer: Layer, batch: int, depth: int, device: torch.device, budget_s: float
) -> list[tuple[float, list[int]]]:
    found = []
    for cut in _candidates(layer, depth):
        try:
            kernel, programs, arguments = network.launch(layer, cut)
            took = seconds_of(lambda: kernel[(programs * batch,)](**arguments), device, budget_s / 20)  # noqa: B023
        except Exception as error:  # a cut that does not fit is no candidate, whatever says so
            print(f"  {layer.name} {cut}: {type(error).__name__}", flush=True)
            continue
        found.append((took, list(astuple(cut))))
    return found
