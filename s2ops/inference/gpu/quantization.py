"""The numbers that the fused layers compute with: float16, or int8 with scales learnt from a few images.

Activations are at least 0 after the rectification, so in int8 they take the steps 0..127. Each channel has its own
step; that costs nothing, because the layer that writes it divides by it. Steps share the range between a channel's
largest value and its largest weight (SmoothQuant, Xiao et al. 2023); each row of weights has a step of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from s2ops.inference.gpu.layers import Layer
from s2ops.models.unet import Convolution, UNet

Plan = Literal["int8", "mixed", "float16"]
"""Which layers are in int8: all, those at a quarter of the image's side and below, or none."""

PLANS: Final[tuple[Plan, ...]] = ("int8", "mixed", "float16")
"""From the fastest to the most exact."""

STEPS: Final = 127

SHARE: Final = 0.5
"""Of the range, to the activations rather than the weights."""

CLIP: Final = 0.8
"""Part of the largest value that the steps reach; the few values above it are cut (benchmarks/results/gpu-serving.md)."""

LEAST: Final = 1e-4
"""Peak of a channel that no calibration image excites, in the network's units."""


@dataclass(frozen=True)
class Quantised:
    """A layer's weights as the kernel reads them, and what its numbers are worth."""

    weight: Tensor
    """int8 or float16 (row, column)."""
    unit: Tensor
    """(row,): value of one unit of the sum."""
    steps: Mapping[str, Tensor]
    """(channel,) for each input: value of one step; 1 in float16."""


def peaks(model: UNet, images: Tensor) -> dict[str, Tensor]:
    """Largest value of each channel of every convolution's output over `images`, (n, band, y, x) levels.

    With a model in double precision every machine finds the same.
    """
    found: dict[str, Tensor] = {}

    def watch(name: str, value: Tensor) -> None:
        top = value.amax(dim=(0, 2, 3))
        found[name] = torch.maximum(found.get(name, top), top)

    handles = [
        module.register_forward_hook(lambda _module, _given, value, name=name: watch(name, value))
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
    # in double precision and then so coarse, no other order of the sums elsewhere can change a scale
    return {name: top.bfloat16().to(top.dtype) for name, top in found.items()}


def type_of(layer: Layer, plan: Plan) -> torch.dtype:
    """The type of a layer's operands."""
    return torch.int8 if plan == "int8" or (plan == "mixed" and layer.level >= 2) else torch.float16


def quantised(layer: Layer, plan: Plan, found: Mapping[str, Tensor]) -> Quantised:
    """Weights of a layer, given the peaks of what it reads."""
    if type_of(layer, plan) == torch.float16:
        ones = {
            name: layer.weight.new_ones(channels) for name, channels in zip(layer.reads, layer.channels, strict=True)
        }
        return Quantised(layer.weight.half(), layer.weight.new_ones(len(layer.weight)), ones)
    parts = [
        pad(found[name.removesuffix("/2")], (0, channels - len(found[name.removesuffix("/2")])))
        for name, channels in zip(layer.reads, layer.channels, strict=True)
    ]
    peak = torch.cat(parts).clamp_min(LEAST) * CLIP
    columns = layer.columns().to(peak.device)
    largest = torch.zeros_like(peak).scatter_reduce(0, columns, layer.weight.abs().amax(dim=0), "amax")
    steps = peak**SHARE / largest.clamp_min(1e-8) ** (1 - SHARE)
    steps = steps * (peak / steps).max() / STEPS
    scaled = layer.weight * steps[columns]
    unit = scaled.abs().amax(dim=1).clamp_min(1e-12) / STEPS
    weight = torch.round(scaled / unit[:, None]).to(torch.int8)
    return Quantised(weight, unit, dict(zip(layer.reads, torch.split(steps, list(layer.channels)), strict=True)))
