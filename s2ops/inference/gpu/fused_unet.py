"""Fused U-net on a Hopper GPU by the Triton-language kernels of `kernels.py`: fixed buffers, one launch per layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from s2ops.inference.gpu import kernels
from s2ops.inference.gpu.layers import FusedLayer, list_fused_layers
from s2ops.inference.gpu.quantization import Precision, quantize_layer
from s2ops.models.registry import list_transmitted_classes
from s2ops.models.unet import UNet

_TRITON_TYPES: Final = {torch.int8: tl.int8, torch.float16: tl.float16}
_ACCUMULATOR_TYPES: Final = {torch.int8: tl.int32, torch.float16: tl.float32}

_PADDED_CLASSES: Final = 16
"""Number of classes after padding: the minimum size of a matrix product on the GPU."""


@dataclass(frozen=True)
class KernelTiling:
    """Tiling of a layer: block sizes and pipelining of its kernel."""

    high: int
    """Height of a tile in pixels."""
    wide: int
    """Width of a tile in pixels; with 8 the 2 x 2 maximum stays within a thread's or its neighbour's registers."""
    channels: int
    """Number of output channels per tile."""
    depth: int
    """Number of input channels per step of the accumulation."""
    warps: int
    stages: int
    """Number of steps in flight."""


_TILINGS: Final = {
    torch.int8: {
        "last": (32, 8, 64, 4, 4),
        "narrow conv": (16, 16, 64, 4, 4),
        "narrow join": (16, 16, 64, 8, 4),
        "wide conv": (16, 8, 128, 8, 3),
        "wide join": (16, 8, 128, 4, 3),
    },
    torch.float16: {
        "first": (8, 16, 64, 4, 1),
        "last": (32, 16, 64, 8, 3),
        "narrow conv": (16, 8, 64, 4, 3),
        "narrow join": (32, 16, 64, 8, 3),
        "wide conv": (16, 16, 128, 8, 4),
        "wide join": (16, 16, 128, 8, 3),
    },
}
"""Height, width, channels, warps, stages of the fastest tilings on an H200; narrow means below 128 output channels.

Measured by `benchmarks/bench_gpu_serving.py tune`.
"""


def choose_tiling(layer: FusedLayer, kind: torch.dtype) -> KernelTiling:
    """Choose the tiling of a layer with operands of type `kind`."""
    shape: str = layer.kind
    if layer.kind not in ("first", "last"):
        shape = f"{'wide' if layer.out_channels >= 128 else 'narrow'} {layer.kind}"
    high, wide, channels, warps, stages = _TILINGS[kind][shape]
    depth = min(128 // kind.itemsize, *layer.channels)
    return KernelTiling(high, wide, min(channels, layer.out_channels), depth, warps, stages)


class FusedUNet:
    """U-net for batches of square images (`DeviceNetwork`); it only launches kernels, on the current stream."""

    def __init__(
        self, model: UNet, image: Tensor, out: Tensor, precision: Precision, peaks: Mapping[str, Tensor]
    ) -> None:
        """Bind a network to the engine's buffers and prepare all launches.

        Args:
            model: Network in evaluation mode.
            image: Input, uint8 levels (batch, band, side, side).
            out: Output, uint8 probabilities (batch, transmitted class, side, side).
            precision: Precision of the layers.
            peaks: Activation peaks of the model (`measure_activation_peaks`).
        """
        self.layers = list_fused_layers(model)
        self.image, self.out, self.side = image, out, image.shape[-1]
        self._head, self._heads = model.head, model.heads
        self._weights = {
            layer.name: quantize_layer(layer, precision, peaks) for layer in self.layers if layer.kind != "first"
        }
        self._steps = {name: steps for part in self._weights.values() for name, steps in part.steps.items()}
        self._types = {name: part.weight.dtype for part in self._weights.values() for name in part.steps}
        self._buffers: dict[str, Tensor] = {}
        self.launches = [(layer.name, *self.prepare_launch(layer)) for layer in self.layers]

    def run(self, images: int) -> None:
        """Compute the first `images` of the batch."""
        for _, kernel, programs, arguments in self.launches:
            kernel[(programs * images,)](**arguments)

    def prepare_launch(self, layer: FusedLayer, tiling: KernelTiling | None = None) -> tuple[Any, int, dict[str, Any]]:
        """Prepare the launch of a layer; by default with the tiling of `choose_tiling`.

        Returns:
            The kernel, the number of programs per image, and the kernel's arguments.
        """
        kind = torch.float16 if layer.kind == "first" else self._weights[layer.name].weight.dtype
        tiling = tiling or choose_tiling(layer, kind)
        side = self.side >> layer.level
        # a program of a join computes pixels of one phase, so its tile covers twice the side
        spread = 2 if layer.kind == "join" else 1
        rows, columns = -(-side // (spread * tiling.high)), -(-side // (spread * tiling.wide))
        arguments = {
            "TH": tiling.high, "TW": tiling.wide, "tiles_y": rows, "tiles_x": columns, "num_warps": tiling.warps,
        }  # fmt: skip
        if layer.kind == "first":
            return kernels.convolve_image, rows * columns, arguments | self._build_first_arguments(layer, tiling)
        weight = describe_tensor(self._weights[layer.name].weight, [tiling.channels, tiling.depth])
        arguments |= {"weight": weight, "BK": tiling.depth, "STAGES": tiling.stages, "SUM": _ACCUMULATOR_TYPES[kind]}
        programs = rows * columns * (layer.out_channels // tiling.channels)
        if layer.kind == "last":
            return kernels.convolve_and_classify, programs, arguments | self._build_last_arguments(layer, tiling)
        arguments |= {"COUT": layer.out_channels, "BN": tiling.channels}
        if layer.kind == "join":
            return kernels.upsample_and_convolve, 4 * programs, arguments | self._build_join_arguments(layer, tiling)
        return kernels.convolve, programs, arguments | self._build_convolution_arguments(layer, tiling)

    def _build_first_arguments(self, layer: FusedLayer, tiling: KernelTiling) -> dict[str, Any]:
        values = layer.weight.shape[1]
        taps = 1 << (values - 1).bit_length()
        weight = torch.zeros(taps, layer.out_channels, dtype=torch.float16, device=self.image.device)
        weight[:values] = layer.weight.T
        steps = self._steps[layer.name]
        out = self._allocate_output(layer.name, layer.level, layer.out_channels)
        return {
            "image": self.image, "weight": weight,
            "scale": (1 / steps).float(), "bias": (layer.bias / steps).float(),
            "out": describe_tensor(out, [1, tiling.high, tiling.wide, layer.out_channels]),
            "side": self.side, "BANDS": self.image.shape[1], "TAPS": taps,
            "COUT": layer.out_channels, "KIND": _TRITON_TYPES[out.dtype],
        }  # fmt: skip

    def _build_convolution_arguments(self, layer: FusedLayer, tiling: KernelTiling) -> dict[str, Any]:
        block = [1, tiling.high, tiling.wide]
        out = self._allocate_output(layer.name, layer.level, layer.out_channels)
        pooled, ratio, small = out, layer.bias, block
        if layer.pooled:
            pooled = self._allocate_output(layer.name + "/2", layer.level + 1, layer.out_channels)
            ratio = self._steps[layer.name] / self._steps[layer.name + "/2"]
            small = [1, tiling.high // 2, tiling.wide // 2]
        return self._compute_scales(layer) | {
            "source": describe_tensor(self._buffers[layer.inputs[0]], [*block, tiling.depth]),
            "pool_scale": ratio.float(),
            "out": describe_tensor(out, [*block, tiling.channels]),
            "pooled": describe_tensor(pooled, [*small, tiling.channels]),
            "CIN": layer.channels[0], "POOL": layer.pooled,
            "KIND": _TRITON_TYPES[out.dtype], "POOL_KIND": _TRITON_TYPES[pooled.dtype],
        }  # fmt: skip

    def _build_join_arguments(self, layer: FusedLayer, tiling: KernelTiling) -> dict[str, Any]:
        block = [1, tiling.high, 1, tiling.wide]
        low, skip = (self._buffers[name] for name in layer.inputs)
        out = self._allocate_output(layer.name, layer.level, layer.out_channels)
        return self._compute_scales(layer) | {
            "low": describe_tensor(low, [1, tiling.high, tiling.wide, tiling.depth]),
            "skip": describe_tensor(_split_phases(skip), [*block, tiling.depth]),
            "out": describe_tensor(_split_phases(out), [*block, tiling.channels]),
            "CLOW": layer.channels[0], "CSKIP": layer.channels[1], "KIND": _TRITON_TYPES[out.dtype],
        }  # fmt: skip

    def _build_last_arguments(self, layer: FusedLayer, tiling: KernelTiling) -> dict[str, Any]:
        device = self.image.device
        classes, width = self._head.weight.shape[:2]
        head = torch.zeros(layer.out_channels, _PADDED_CLASSES, dtype=torch.float16, device=device)
        head[:width, :classes] = self._head.weight.detach()[:, :, 0, 0].T
        head_bias = torch.zeros(_PADDED_CLASSES, device=device)
        head_bias[:classes] = self._head.get_parameter("bias").detach()
        groups, places = torch.full((2, _PADDED_CLASSES), -1, dtype=torch.int32, device=device)
        groups[:classes] = torch.arange(len(self._heads)).repeat_interleave(torch.tensor(self._heads))
        transmitted = list_transmitted_classes(self._heads)
        places[transmitted] = torch.arange(len(transmitted), dtype=torch.int32, device=places.device)
        source = self._buffers[layer.inputs[0]]
        return self._compute_scales(layer) | {
            "source": describe_tensor(source, [1, tiling.high, tiling.wide, tiling.depth]),
            "head": head, "head_bias": head_bias, "groups": groups, "places": places,
            "out": self.out, "side": self.side, "planes": self.out.shape[1],
            "CIN": layer.out_channels, "HEADS": len(self._heads), "PADDED": _PADDED_CLASSES,
        }  # fmt: skip

    def _compute_scales(self, layer: FusedLayer) -> dict[str, Tensor]:
        """Compute scale and bias of the sums, in levels of the layer that reads them; the last layer has no reader."""
        steps = self._steps.get(layer.name, torch.ones_like(layer.bias))
        unit = self._weights[layer.name].unit.view(-1, layer.out_channels)
        return {"scale": (unit / steps).flatten().float(), "bias": (layer.bias / steps).float()}

    def _allocate_output(self, name: str, level: int, channels: int) -> Tensor:
        """Return the buffer of an output; it is allocated once, also when a layer is prepared again for tuning."""
        side = self.side >> level
        fresh = torch.empty(len(self.image), side, side, channels, dtype=self._types[name], device=self.image.device)
        return self._buffers.setdefault(name, fresh)


def describe_tensor(tensor: Tensor, block: list[int]) -> TensorDescriptor:
    """Build the descriptor by which the GPU's copy engine (TMA) loads and stores blocks of a tensor."""
    return TensorDescriptor(tensor, list(tensor.shape), list(tensor.stride()), block)


def _split_phases(tensor: Tensor) -> Tensor:
    """View (image, y, x, channel) as (image, y / 2, y % 2, x / 2, x % 2 and channel)."""
    images, side, _, channels = tensor.shape
    return tensor.view(images, side // 2, 2, side // 2, 2 * channels)
