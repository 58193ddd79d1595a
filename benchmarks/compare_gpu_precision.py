"""What each plan of the fused kernels changes, emulated on any machine: the kernels' numbers by torch's operators.

    python benchmarks/compare_gpu_precision.py --network building --models FOLDER --images levels.npy

Prints the part of the pixels whose class differs from float32, for windows of the simulated world that calibration did
not see and for given images.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, max_pool2d, pad

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from s2ops.constants import BANDS
from s2ops.inference.gpu import calibration_images
from s2ops.inference.gpu.layers import Layer, layers
from s2ops.inference.gpu.quantization import PLANS, STEPS, Plan, Quantised, peaks, quantised, type_of
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import find
from s2ops.models.unet import UNet, normalised
from s2ops.training.datasets.build_pools import simulated


class Emulated:
    """A network as the kernels compute it."""

    def __init__(self, model: UNet, plan: Plan, found: Mapping[str, Tensor]) -> None:
        self._head, self._layers = model.head, layers(model)
        self._numbers = {part.name: quantised(part, plan, found) for part in self._layers if part.kind != "first"}
        self._steps = {name: step for part in self._numbers.values() for name, step in part.steps.items()}
        self._types = {name: type_of(part, plan) for part in self._layers for name in part.reads}

    def _held(self, name: str, value: Tensor) -> Tensor:
        scaled = value / self._steps[name].float()[:, None, None]
        whole = torch.floor(scaled + 0.5).clamp(0, STEPS)
        return whole if self._types[name] == torch.int8 else scaled.half().float()

    def __call__(self, levels: Tensor) -> Tensor:
        """(n, band, y, x) levels -> logits."""
        held: dict[str, Tensor] = {}
        value = levels
        for layer in self._layers:
            if layer.kind == "first":
                rows = layer.weight.half().float()
                value = conv2d(normalised(levels), _filters(rows, 3, levels.shape[1]), padding=1)
            else:
                value = _sums(layer, self._numbers[layer.name], [held[name] for name in layer.reads])
            value = torch.relu(value + layer.bias.float()[:, None, None])
            if layer.kind != "last":
                held[layer.name] = self._held(layer.name, value)
            if layer.pooled:
                held[layer.name + "/2"] = self._held(layer.name + "/2", max_pool2d(value, 2))
        head = self._head
        value = value[:, : head.in_channels].half().float()
        return conv2d(value, head.weight.half().float(), head.get_parameter("bias"))


def _filters(rows: Tensor, side: int, channels: int) -> Tensor:
    return rows.float().reshape(len(rows), side, side, channels).movedim(-1, 1)


def _sums(layer: Layer, numbers: Quantised, given: list[Tensor]) -> Tensor:
    unit = numbers.unit.float()[:, None, None]
    if layer.kind != "join":
        return conv2d(given[0], _filters(numbers.weight, 3, layer.channels[0]), padding=1) * unit
    (small, skip), low = given, layer.channels[0]
    out = torch.empty(len(small), layer.out, *skip.shape[2:])
    for phase in range(4):
        down, across = divmod(phase, 2)
        rows = numbers.weight[phase * layer.out : (phase + 1) * layer.out]
        framed = pad(small, (1 - across, across, 1 - down, down))
        part = conv2d(framed, _filters(rows[:, : 4 * low], 2, low))
        beside = conv2d(skip, _filters(rows[:, 4 * low :], 3, layer.channels[1]), padding=1)[:, :, down::2, across::2]
        out[:, :, down::2, across::2] = (part + beside) * unit[phase * layer.out : (phase + 1) * layer.out]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="building")
    parser.add_argument("--models", help="folder or URI of weights; the package's by default")
    parser.add_argument("--images", type=Path, help=".npy of (n, 4, y, x) levels, sides multiples of 32")
    parser.add_argument("--samples", type=int, default=8, help="windows of the simulated world")
    given = parser.parse_args()
    file = find(given.network, given.models)
    model = load_into_torch(file.path)
    assert isinstance(model, UNet)
    own = [BANDS.index(band) for band in file.meta.bands]
    samples = torch.from_numpy(calibration_images.images()[:, own])
    found = {name: peak.float() for name, peak in peaks(model.double(), samples).items()}
    model.float()
    ways = {plan: Emulated(model, plan, found) for plan in PLANS}
    sources = {"simulated": np.stack([simulated(1000 + seed)[0] for seed in range(given.samples)])}
    if given.images is not None:
        sources["given"] = np.load(given.images)
    for name, images in sources.items():
        changed = dict.fromkeys(PLANS, 0.0)
        for image in images:
            levels = torch.from_numpy(np.ascontiguousarray(image[None, own]))
            with torch.inference_mode():
                wanted = model(levels).argmax(dim=1)
                for plan, way in ways.items():
                    other = way(levels).argmax(dim=1) != wanted
                    changed[plan] += float(other.float().mean()) / len(images)
        text = ", ".join(f"{plan} {100 * part:.3f} %" for plan, part in changed.items())
        print(f"{given.network}, width {file.meta.width}, {len(images)} {name} images: {text} change class", flush=True)


if __name__ == "__main__":
    main()
