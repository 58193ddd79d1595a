"""A U-net on a Hopper GPU by the kernels of `gpu_kernels.py`: buffers made once, one launch a layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from s2ops.inference.gpu import kernels
from s2ops.inference.gpu.layers import Layer, layers, sent
from s2ops.inference.gpu.quantization import Plan, quantised
from s2ops.models.unet import UNet

_TYPES: Final = {torch.int8: tl.int8, torch.float16: tl.float16}
_SUMS: Final = {torch.int8: tl.int32, torch.float16: tl.float32}


@dataclass(frozen=True)
class Cut:
    """How a kernel cuts a layer."""

    high: int
    wide: int
    """Pixels of a tile; 8 wide, so that the 2 x 2 maximum stays within a thread's or its neighbour's registers."""
    channels: int
    depth: int
    """Channels of one step of the sum."""
    warps: int
    stages: int
    """Steps in flight."""


_CUTS: Final = {
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
"""High, wide, channels, warps, stages: the fastest on an H200; narrow is below 128.

Measured by `benchmarks/bench_gpu_serving.py tune`.
"""


def cut(layer: Layer, kind: torch.dtype) -> Cut:
    """How to cut a layer with operands of `kind`."""
    shape = (
        layer.kind if layer.kind in ("first", "last") else f"{'wide' if layer.out >= 128 else 'narrow'} {layer.kind}"
    )
    high, wide, channels, warps, stages = _CUTS[kind][shape]
    return Cut(high, wide, min(channels, layer.out), min(128 // kind.itemsize, *layer.channels), warps, stages)


class FusedUNet:
    """One network for batches of square images; it only launches kernels, on the current stream."""

    def __init__(self, model: UNet, image: Tensor, out: Tensor, plan: Plan, found: Mapping[str, Tensor]) -> None:
        """Prepare all launches; `found` are the model's `peaks`.

        From `image` (batch, band, side, side), uint8, to `out` (batch, plane, side, side), uint8: the probabilities of
        the classes that are `sent`.
        """
        self.layers = layers(model)
        self.image, self.out, self.side = image, out, image.shape[-1]
        self._head, self._heads = model.head, model.heads
        self._numbers = {layer.name: quantised(layer, plan, found) for layer in self.layers if layer.kind != "first"}
        self._steps = {name: steps for part in self._numbers.values() for name, steps in part.steps.items()}
        self._kinds = {name: part.weight.dtype for part in self._numbers.values() for name in part.steps}
        self._buffers: dict[str, Tensor] = {}
        self.launches = [(layer.name, *self.launch(layer)) for layer in self.layers]

    def run(self, images: int) -> None:
        """Compute the first `images` of the batch."""
        for _, kernel, programs, arguments in self.launches:
            kernel[(programs * images,)](**arguments)

    def launch(self, layer: Layer, size: Cut | None = None) -> tuple[Any, int, dict[str, Any]]:
        """Kernel, number of programs for one image, and arguments."""
        kind = torch.float16 if layer.kind == "first" else self._numbers[layer.name].weight.dtype
        size = size or cut(layer, kind)
        side = self.side >> layer.level
        # a program of a join makes pixels of one phase, so its tile covers twice the side
        spread = 2 if layer.kind == "join" else 1
        rows, columns = -(-side // (spread * size.high)), -(-side // (spread * size.wide))
        arguments = {"TH": size.high, "TW": size.wide, "tiles_y": rows, "tiles_x": columns, "num_warps": size.warps}
        if layer.kind == "first":
            return kernels.first, rows * columns, arguments | self._first(layer, size)
        weight = view(self._numbers[layer.name].weight, [size.channels, size.depth])
        arguments |= {"weight": weight, "BK": size.depth, "STAGES": size.stages, "SUM": _SUMS[kind]}
        programs = rows * columns * (layer.out // size.channels)
        if layer.kind == "last":
            return kernels.last, programs, arguments | self._last(layer, size)
        arguments |= {"COUT": layer.out, "BN": size.channels}
        if layer.kind == "join":
            return kernels.join, 4 * programs, arguments | self._join(layer, size)
        return kernels.conv, programs, arguments | self._conv(layer, size)

    def _first(self, layer: Layer, size: Cut) -> dict[str, Any]:
        values = layer.weight.shape[1]
        taps = 1 << (values - 1).bit_length()
        weight = torch.zeros(taps, layer.out, dtype=torch.float16, device=self.image.device)
        weight[:values] = layer.weight.T
        steps = self._steps[layer.name]
        out = self._output(layer.name, layer.level, layer.out)
        return {
            "image": self.image, "weight": weight, "scale": (1 / steps).float(),
            "bias": (layer.bias / steps).float(), "out": view(out, [1, size.high, size.wide, layer.out]),
            "side": self.side, "BANDS": self.image.shape[1], "TAPS": taps,
            "COUT": layer.out, "KIND": _TYPES[out.dtype],
        }  # fmt: skip

    def _conv(self, layer: Layer, size: Cut) -> dict[str, Any]:
        block = [1, size.high, size.wide]
        out = self._output(layer.name, layer.level, layer.out)
        pooled, ratio, small = out, layer.bias, block
        if layer.pooled:
            pooled = self._output(layer.name + "/2", layer.level + 1, layer.out)
            ratio = self._steps[layer.name] / self._steps[layer.name + "/2"]
            small = [1, size.high // 2, size.wide // 2]
        return self._scales(layer) | {
            "source": view(self._buffers[layer.reads[0]], [*block, size.depth]), "pool_scale": ratio.float(),
            "out": view(out, [*block, size.channels]), "pooled": view(pooled, [*small, size.channels]),
            "CIN": layer.channels[0], "POOL": layer.pooled, "KIND": _TYPES[out.dtype],
            "POOL_KIND": _TYPES[pooled.dtype],
        }  # fmt: skip

    def _join(self, layer: Layer, size: Cut) -> dict[str, Any]:
        block = [1, size.high, 1, size.wide]
        low, skip = (self._buffers[name] for name in layer.reads)
        out = self._output(layer.name, layer.level, layer.out)
        return self._scales(layer) | {
            "low": view(low, [1, size.high, size.wide, size.depth]), "skip": view(_phases(skip), [*block, size.depth]),
            "out": view(_phases(out), [*block, size.channels]), "CLOW": layer.channels[0], "CSKIP": layer.channels[1],
            "KIND": _TYPES[out.dtype],
        }  # fmt: skip

    def _last(self, layer: Layer, size: Cut) -> dict[str, Any]:
        classes, width = self._head.weight.shape[:2]
        padded = 16  # the least that the matrix product takes
        head = torch.zeros(layer.out, padded, dtype=torch.float16, device=self.image.device)
        head[:width, :classes] = self._head.weight.detach()[:, :, 0, 0].T
        head_bias = torch.zeros(padded, device=self.image.device)
        head_bias[:classes] = self._head.get_parameter("bias").detach()
        groups, places = torch.full((2, padded), -1, dtype=torch.int32, device=self.image.device)
        groups[:classes] = torch.arange(len(self._heads)).repeat_interleave(torch.tensor(self._heads))
        leaving = sent(self._heads)
        places[leaving] = torch.arange(len(leaving), dtype=torch.int32, device=places.device)
        return self._scales(layer) | {
            "source": view(self._buffers[layer.reads[0]], [1, size.high, size.wide, size.depth]), "head": head,
            "head_bias": head_bias, "groups": groups, "places": places, "out": self.out, "side": self.side,
            "planes": self.out.shape[1], "CIN": layer.out, "HEADS": len(self._heads), "PADDED": padded,
        }  # fmt: skip

    def _scales(self, layer: Layer) -> dict[str, Tensor]:
        """Of the sums, in steps of the output's reader; the last layer's output is read as it is."""
        steps = self._steps.get(layer.name, torch.ones_like(layer.bias))
        unit = self._numbers[layer.name].unit.view(-1, layer.out)
        return {"scale": (unit / steps).flatten().float(), "bias": (layer.bias / steps).float()}

    def _output(self, name: str, level: int, channels: int) -> Tensor:
        side = self.side >> level
        made = torch.empty(len(self.image), side, side, channels, dtype=self._kinds[name], device=self.image.device)
        return self._buffers.setdefault(name, made)


def view(tensor: Tensor, block: list[int]) -> TensorDescriptor:
    """What the copy engine needs to know of a tensor whose blocks it moves."""
    return TensorDescriptor(tensor, list(tensor.shape), list(tensor.stride()), block)


def _phases(tensor: Tensor) -> Tensor:
    """(image, y, x, channel) as (image, y / 2, y % 2, x / 2, x % 2 and channel)."""
    images, side, _, channels = tensor.shape
    return tensor.view(images, side // 2, 2, side // 2, 2 * channels)
