"""A U-net as the list of fused layers that the GPU runs, with their weights in the order in which it reads them.

Each doubling (a transposed convolution without bias) is merged with the convolution that follows it: both are linear,
so for each of the four places of an output pixel in its 2 x 2 block they are one 2 x 2 convolution of the small image.
That is exact, also at the image's edge, takes 8 % off the network's arithmetic, and spares a pass over memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from s2ops.models.unet import UNet

Kind = Literal["first", "conv", "join", "last"]

LANES: Final = 32
"""Channels are filled up with zeros to a multiple of this, the depth of the GPU's int8 matrix product."""


@dataclass(frozen=True)
class Layer:
    """One convolution and what is merged with it."""

    name: str
    """Of its convolution in the `UNet`; what it computes is known by the same name."""
    kind: Kind
    level: int
    """Its output has 1 / 2**level of the image's side."""
    reads: tuple[str, ...]
    """Names of its inputs: `image`, or outputs of layers; NAME/2 is an output after its 2 x 2 maximum."""
    channels: tuple[int, ...]
    """Of each input."""
    weight: Tensor
    """(out, tap * channel), or for a join (phase * out, tap * channel) with the small image's taps first."""
    bias: Tensor
    pooled: bool = False
    """Whether the 2 x 2 maximum of its output is wanted too."""

    @property
    def out(self) -> int:
        """Channels of the output."""
        return len(self.bias)

    def columns(self) -> Tensor:
        """For each column of the weights the input channel it belongs to, counted through all inputs."""
        if self.kind == "join":
            low, skip = self.channels
            return torch.cat([torch.arange(low).repeat(4), low + torch.arange(skip).repeat(9)])
        return torch.arange(self.channels[0]).repeat(9)


def layers(model: UNet) -> list[Layer]:
    """The network in the order in which it runs; the head stays apart (`model.head`)."""
    found: list[Layer] = []
    skips: list[str] = []
    reads = "image"
    for level, block in enumerate(model.encoder):
        steps = list(convolutions(block))
        for name, step in steps:
            kind: Kind = "conv" if found else "first"
            full = f"encoder.{level}.{name}"
            found.append(_conv(full, kind, level, reads, step, pooled=name == steps[-1][0]))
            reads = full
        skips.append(reads)
        reads += "/2"
    for name, step in convolutions(model.centre):
        found.append(_conv(f"centre.{name}", "conv", len(skips), reads, step))
        reads = found[-1].name
    for level in range(len(skips) - 1, -1, -1):
        (_, first), (_, second) = convolutions(model.decoder[level])
        up = model.up[level].get_parameter("weight").detach()
        found.append(_join(f"decoder.{level}.0", level, (reads, skips[level]), up, first))
        found.append(_conv(f"decoder.{level}.1", "conv" if level else "last", level, found[-1].name, second))
        reads = found[-1].name
    return found


def convolutions(block: nn.Module) -> Iterator[tuple[str, nn.Conv2d]]:
    """Name and 3 x 3 convolution of each step of a block."""
    for name, step in block.named_children():
        for layer in step.children():
            if isinstance(layer, nn.Conv2d):
                yield name, layer


def sent(heads: Sequence[int]) -> list[int]:
    """The classes whose probabilities leave the GPU: all but the first of each head."""
    firsts = {sum(heads[:index]) for index in range(len(heads))}
    return [index for index in range(sum(heads)) if index not in firsts]


def filled(channels: int) -> int:
    """Channels with those that are filled up."""
    return -(-channels // LANES) * LANES


def _parameters(step: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """(out, in, 3, 3) weights and (filled out,) bias."""
    bias = step.get_parameter("bias").detach()
    return step.weight.detach(), pad(bias, (0, filled(len(bias)) - len(bias)))


def _rows(weight: Tensor, channels: int) -> Tensor:
    """(..., out, in, y, x) -> (..., filled out, y * x * channels): tap by tap."""
    moved = weight.movedim(-3, -1)
    moved = pad(moved, (0, channels - moved.shape[-1], 0, 0, 0, 0, 0, filled(moved.shape[-4]) - moved.shape[-4]))
    return moved.flatten(-3)


def _conv(name: str, kind: Kind, level: int, reads: str, step: nn.Conv2d, pooled: bool = False) -> Layer:
    weight, bias = _parameters(step)
    channels = step.in_channels if kind == "first" else filled(step.in_channels)
    return Layer(name, kind, level, (reads,), (channels,), _rows(weight, channels), bias, pooled)


def _join(name: str, level: int, reads: tuple[str, str], up: Tensor, step: nn.Conv2d) -> Layer:
    weight, bias = _parameters(step)
    doubled = up.shape[1]
    low, skip = filled(len(up)), filled(weight.shape[1] - doubled)
    merged = _rows(merge(up, weight[:, :doubled]).flatten(0, 1), low)
    beside = _rows(weight[:, doubled:], skip)
    rows = torch.cat([merged, beside.expand(4, -1, -1)], dim=2).flatten(0, 1)
    return Layer(name, "join", level, reads, (low, skip), rows, bias)


def merge(up: Tensor, weight: Tensor) -> Tensor:
    """(in, mid, 2, 2) transposed and (out, mid, 3, 3) plain convolution -> (2, 2, out, in, 2, 2).

    The first two axes are the phase: an output pixel's place in its 2 x 2 block. Tap t of phase p reads the small
    image at block + p - 1 + t.
    """
    merged = torch.zeros(2, 2, len(weight), len(up), 2, 2, dtype=weight.dtype, device=weight.device)
    for down, across, dy, dx in torch.cartesian_prod(*[torch.arange(n) for n in (2, 2, 3, 3)]).tolist():
        y, x = down + dy - 1, across + dx - 1  # the doubled pixel that this tap reads, from the block's corner
        taps = torch.einsum("oc,ic->oi", weight[:, :, dy, dx], up[:, :, y % 2, x % 2])
        merged[down, across, :, :, y // 2 - (down - 1), x // 2 - (across - 1)] += taps
    return merged
