"""Deviation of each precision of the fused kernels, emulated on any machine by torch's operators.

    python benchmarks/compare_gpu_precision.py --network building --models FOLDER --images levels.npy

Prints the percentage of pixels whose class differs from float32, for windows of the simulated world that the
calibration does not use, and for given images.
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
from s2ops.inference.gpu.calibration_images import load_calibration_images
from s2ops.inference.gpu.layers import FusedLayer, list_fused_layers
from s2ops.inference.gpu.quantization import (
    MAX_INT8_LEVEL,
    PRECISIONS,
    Precision,
    QuantizedWeights,
    choose_operand_type,
    measure_activation_peaks,
    quantize_layer,
)
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import find_weights
from s2ops.models.unet import UNet, normalize_levels
from s2ops.training.datasets.build_pools import simulate_sample


class EmulatedUNet:
    """Network with the same arithmetic as the fused kernels."""

    def __init__(self, model: UNet, precision: Precision, peaks: Mapping[str, Tensor]) -> None:
        self._head, self._layers = model.head, list_fused_layers(model)
        self._weights = {
            layer.name: quantize_layer(layer, precision, peaks) for layer in self._layers if layer.kind != "first"
        }
        self._steps = {name: step for part in self._weights.values() for name, step in part.steps.items()}
        self._types = {name: choose_operand_type(layer, precision) for layer in self._layers for name in layer.inputs}

    def _round_activations(self, name: str, value: Tensor) -> Tensor:
        """Round activations as the kernel stores them: to int8 levels or float16."""
        scaled = value / self._steps[name].float()[:, None, None]
        whole = torch.floor(scaled + 0.5).clamp(0, MAX_INT8_LEVEL)
        return whole if self._types[name] == torch.int8 else scaled.half().float()

    def __call__(self, levels: Tensor) -> Tensor:
        """Compute the logits (n, class, y, x) of levels (n, band, y, x)."""
        stored: dict[str, Tensor] = {}
        value = levels
        for layer in self._layers:
            if layer.kind == "first":
                rows = layer.weight.half().float()
                value = conv2d(normalize_levels(levels), _unflatten_filters(rows, 3, levels.shape[1]), padding=1)
            else:
                value = _compute_sums(layer, self._weights[layer.name], [stored[name] for name in layer.inputs])
            value = torch.relu(value + layer.bias.float()[:, None, None])
            if layer.kind != "last":
                stored[layer.name] = self._round_activations(layer.name, value)
            if layer.pooled:
                stored[layer.name + "/2"] = self._round_activations(layer.name + "/2", max_pool2d(value, 2))
        head = self._head
        value = value[:, : head.in_channels].half().float()
        return conv2d(value, head.weight.half().float(), head.get_parameter("bias"))


def _unflatten_filters(rows: Tensor, side: int, channels: int) -> Tensor:
    return rows.float().reshape(len(rows), side, side, channels).movedim(-1, 1)


def _compute_sums(layer: FusedLayer, weights: QuantizedWeights, inputs: list[Tensor]) -> Tensor:
    """Compute the scaled sums of a layer, without bias."""
    unit = weights.unit.float()[:, None, None]
    if layer.kind != "join":
        return conv2d(inputs[0], _unflatten_filters(weights.weight, 3, layer.channels[0]), padding=1) * unit
    (small, skip), low, count = inputs, layer.channels[0], layer.out_channels
    out = torch.empty(len(small), count, *skip.shape[2:])
    for phase in range(4):
        down, across = divmod(phase, 2)
        rows = weights.weight[phase * count : (phase + 1) * count]
        padded = pad(small, (1 - across, across, 1 - down, down))
        part = conv2d(padded, _unflatten_filters(rows[:, : 4 * low], 2, low))
        beside = conv2d(skip, _unflatten_filters(rows[:, 4 * low :], 3, layer.channels[1]), padding=1)
        beside = beside[:, :, down::2, across::2]
        out[:, :, down::2, across::2] = (part + beside) * unit[phase * count : (phase + 1) * count]
    return out


def main() -> None:
    """Compare all precisions with float32 and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="building")
    parser.add_argument("--models", help="folder or URI of the weights; default: the package's")
    parser.add_argument("--images", type=Path, help=".npy file of levels (n, 4, y, x); sides are multiples of 32")
    parser.add_argument("--samples", type=int, default=8, help="number of windows of the simulated world")
    given = parser.parse_args()
    file = find_weights(given.network, given.models)
    model = load_into_torch(file.path)
    assert isinstance(model, UNet)
    own = [BANDS.index(band) for band in file.meta.bands]
    samples = torch.from_numpy(load_calibration_images()[:, own])
    peaks = {name: peak.float() for name, peak in measure_activation_peaks(model.double(), samples).items()}
    model.float()
    emulated = {precision: EmulatedUNet(model, precision, peaks) for precision in PRECISIONS}
    sources = {"simulated": np.stack([simulate_sample(1000 + seed)[0] for seed in range(given.samples)])}
    if given.images is not None:
        sources["given"] = np.load(given.images)
    for name, images in sources.items():
        changed = dict.fromkeys(PRECISIONS, 0.0)
        for image in images:
            levels = torch.from_numpy(np.ascontiguousarray(image[None, own]))
            with torch.inference_mode():
                wanted = model(levels).argmax(dim=1)
                for precision, network in emulated.items():
                    other = network(levels).argmax(dim=1) != wanted
                    changed[precision] += float(other.float().mean()) / len(images)
        text = ", ".join(f"{precision} {100 * part:.3f} %" for precision, part in changed.items())
        print(f"{given.network}, width {file.meta.width}, {len(images)} {name} images: {text} change class", flush=True)


if __name__ == "__main__":
    main()
