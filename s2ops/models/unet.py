"""U-net segmentation network with a VGG16 encoder (13 convolutions) of configurable width.

Encoder: five blocks of 2, 2, 3, 3, 3 convolutions (3 x 3, ReLU) with w, 2w, 4w, 8w, 8w channels, each followed by a
2 x 2 max-pooling (Simonyan and Zisserman 2014, configuration D, where w = 64). Center: two convolutions at 1/32 of the
resolution. Decoder: the mirror image of the encoder. Each level has a transposed convolution that doubles the
resolution, concatenation with the encoder block's output (skip connection), and two convolutions. Head: 1 x 1.

Batch normalization exists only during training. `fold_batch_norm` merges it into the convolutions, so the exported
network is exactly the plain network.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

CONVOLUTIONS_PER_BLOCK: Final = (2, 2, 3, 3, 3)
"""Number of convolutions in each encoder block."""

WIDTH_FACTORS: Final = (1, 2, 4, 8, 8)
"""Channels of each block as multiples of the network's width."""

CENTER_LEVEL: Final = 128.0
"""Level that becomes 0 at the network's input: levels 0 to 255 enter as (level - 128) / 64, about -2 to 2."""

LEVEL_SCALE: Final = 64.0
"""Levels per unit of the network's input."""


def normalize_levels(levels: Tensor) -> Tensor:
    """Convert uint8 levels (n, band, y, x) to float32 network input of about -2 to 2."""
    return (levels.float() - CENTER_LEVEL) / LEVEL_SCALE


class Convolution(nn.Sequential):
    """3 x 3 convolution and ReLU, with batch normalization between them during training."""

    def __init__(self, before: int, after: int, norm: bool) -> None:
        layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1, bias=not norm)]
        if norm:
            layers.append(nn.BatchNorm2d(after))
        super().__init__(*layers, nn.ReLU(inplace=True))


def _build_block(before: int, after: int, count: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(*(Convolution(before if index == 0 else after, after, norm) for index in range(count)))


class UNet(nn.Module):
    """U-net from uint8 levels (n, band, y, x) to float32 logits (n, class, y, x); y and x are multiples of 32."""

    def __init__(
        self, bands: int, classes: int, width: int = 16, norm: bool = False, heads: Sequence[int] = ()
    ) -> None:
        """Create the network with random weights.

        Args:
            bands: Number of input bands.
            classes: Number of output classes, all heads together.
            width: Number of channels of the first block.
            norm: Add batch normalization, for training.
            heads: Number of classes of each task that shares this trunk; empty for a single task.
        """
        super().__init__()
        self.shape = (bands, classes, width)
        self.heads = tuple(heads) or (classes,)
        wide = [width * factor for factor in WIDTH_FACTORS]
        before = [bands, *wide[:-1]]
        self.encoder = nn.ModuleList(
            _build_block(into, out, count, norm)
            for into, out, count in zip(before, wide, CONVOLUTIONS_PER_BLOCK, strict=True)
        )
        self.centre = _build_block(wide[-1], wide[-1], 2, norm)
        below = [*wide[1:], wide[-1]]
        # no bias: the next convolution has one, and on a GPU each bias costs a pass over memory
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(into, out, 2, stride=2, bias=False) for into, out in zip(below, wide, strict=True)
        )
        self.decoder = nn.ModuleList(_build_block(2 * out, out, 2, norm) for out in wide)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, levels: Tensor) -> Tensor:
        """Compute the logits of each pixel."""
        x = normalize_levels(levels).to(self.head.weight.dtype)  # exact in float16 as well
        skips: list[Tensor] = []
        for block in self.encoder:
            x = block(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.centre(x)
        for level in range(len(skips) - 1, -1, -1):
            x = self.decoder[level](torch.cat([self.up[level](x), skips[level]], dim=1))
        logits: Tensor = self.head(x)
        return logits


def compute_probabilities(logits: Tensor, heads: Sequence[int] = ()) -> Tensor:
    """Compute class probabilities by a softmax within each head, rounded exactly as the ONNX model rounds them.

    Args:
        logits: (n, class, y, x).
        heads: Number of classes of each head; empty for one head with all classes.

    Returns:
        uint8 (n, class, y, x); the classes of a head sum to 255 (certainty) up to rounding.
    """
    parts = torch.split(logits.float(), list(heads) or [logits.shape[1]], dim=1)
    shares = torch.cat([torch.softmax(part, dim=1) for part in parts], dim=1)
    return torch.round(shares * 255.0).to(torch.uint8)


def _fold_convolution(layer: Convolution) -> dict[str, Tensor]:
    """Return the state of a single convolution equivalent to a convolution and its batch normalization."""
    conv, norm = layer[0], layer[1]
    state = {name: value.detach() for name, value in conv.state_dict().items()}
    if isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None and norm.running_mean is not None:
        gain = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        state["weight"] = state["weight"] * gain[:, None, None, None]
        state["bias"] = norm.bias.detach() - norm.running_mean * gain
    return state


def fold_batch_norm(model: UNet) -> UNet:
    """Merge batch normalization into the convolutions; return the equivalent plain network in evaluation mode (CPU)."""
    plain = UNet(*model.shape, heads=model.heads)
    source = dict(model.named_modules())
    for name, layer in plain.named_modules():
        twin = source[name]
        if isinstance(layer, Convolution) and isinstance(twin, Convolution):
            layer[0].load_state_dict(_fold_convolution(twin))
        elif isinstance(layer, nn.ConvTranspose2d) or name == "head":
            layer.load_state_dict(twin.state_dict())
    return plain.eval()
