"""Post-training quantization of the fused layers: float16, or int8 with scales calibrated on a few images.

Activations are at least 0 after the ReLU, so in int8 they use the levels 0 to 127. Each channel has its own scale,
which costs nothing because the layer that writes it divides by it. The range is shared between a channel's largest
activation and its largest weight (SmoothQuant, Xiao et al. 2023). Each row of weights has its own scale.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from s2ops.inference.gpu.layers import FusedLayer
from s2ops.models.unet import Convolution, UNet

Precision = Literal["int8", "mixed", "float16"]
"""Layers in int8: all, those at a quarter of the image's side and below, or none; the others are in float16."""

PRECISIONS: Final[tuple[Precision, ...]] = ("int8", "mixed", "float16")
"""All precisions, from the fastest to the most exact."""

MAX_INT8_LEVEL: Final = 127

MIGRATION_STRENGTH: Final = 0.5
"""SmoothQuant's alpha: share of the quantization difficulty that moves from activations to weights."""

PEAK_CLIP_FRACTION: Final = 0.8
"""Fraction of a channel's peak that level 127 represents; larger values are clipped.

They are few (benchmarks/results/gpu-serving.md).
"""

MIN_CHANNEL_PEAK: Final = 1e-4
"""Peak assumed for a channel that no calibration image activates, in the network's units."""


@dataclass(frozen=True)
class QuantizedWeights:
    """Quantized weights of a layer in the kernel's format, with their scales."""

    weight: Tensor
    """int8 or float16 (row, column)."""
    unit: Tensor
    """(row,): value of one unit of the accumulated sum."""
    steps: Mapping[str, Tensor]
    """(channel,) per input: value of one activation level; 1 in float16."""


def measure_activation_peaks(model: UNet, images: Tensor) -> dict[str, Tensor]:
    """Measure the largest output value of each channel of every convolution.

    Args:
        model: Network in evaluation mode; in double precision all machines find the same peaks.
        images: uint8 levels (n, band, y, x).

    Returns:
        Peaks (channel,) by name of the convolution, rounded to bfloat16.
    """
    found: dict[str, Tensor] = {}

    def update_peak(name: str, value: Tensor) -> None:
        top = value.amax(dim=(0, 2, 3))
        found[name] = torch.maximum(found.get(name, top), top)

    handles = [
        module.register_forward_hook(lambda _module, _given, value, name=name: update_peak(name, value))
        for name, module in model.named_modules()
        if isinstance(module, Convolution)
    ]
    try:
        with torch.no_grad():
            for image in images:
                model(image[None])
    finally:
        for handle in handles:
            handle.remove()
    # the coarse rounding removes differences caused by another order of summation on another machine
    return {name: top.bfloat16().to(top.dtype) for name, top in found.items()}


def choose_operand_type(layer: FusedLayer, precision: Precision) -> torch.dtype:
    """Return the type of a layer's operands: int8 or float16."""
    return torch.int8 if precision == "int8" or (precision == "mixed" and layer.level >= 2) else torch.float16


def quantize_layer(layer: FusedLayer, precision: Precision, peaks: Mapping[str, Tensor]) -> QuantizedWeights:
    """Quantize the weights of a layer.

    Args:
        layer: Layer to quantize.
        precision: Precision of the network.
        peaks: Activation peaks of the network's convolutions (`measure_activation_peaks`).
    """
    if choose_operand_type(layer, precision) == torch.float16:
        ones = {
            name: layer.weight.new_ones(channels) for name, channels in zip(layer.inputs, layer.channels, strict=True)
        }
        return QuantizedWeights(layer.weight.half(), layer.weight.new_ones(len(layer.weight)), ones)
    parts = [
        pad(peaks[name.removesuffix("/2")], (0, channels - len(peaks[name.removesuffix("/2")])))
        for name, channels in zip(layer.inputs, layer.channels, strict=True)
    ]
    peak = torch.cat(parts).clamp_min(MIN_CHANNEL_PEAK) * PEAK_CLIP_FRACTION
    columns = layer.map_columns_to_channels().to(peak.device)
    largest = torch.zeros_like(peak).scatter_reduce(0, columns, layer.weight.abs().amax(dim=0), "amax")
    steps = peak**MIGRATION_STRENGTH / largest.clamp_min(1e-8) ** (1 - MIGRATION_STRENGTH)
    steps = steps * (peak / steps).max() / MAX_INT8_LEVEL
    scaled = layer.weight * steps[columns]
    unit = scaled.abs().amax(dim=1).clamp_min(1e-12) / MAX_INT8_LEVEL
    weight = torch.round(scaled / unit[:, None]).to(torch.int8)
    by_input = dict(zip(layer.inputs, torch.split(steps, list(layer.channels)), strict=True))
    return QuantizedWeights(weight, unit, by_input)
