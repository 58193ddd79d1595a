"""The paper's segmentation network: a U-net whose encoder is VGG16's 13 convolutions, of any width.

Encoder: five blocks of 2, 2, 3, 3, 3 convolutions (3 x 3, ReLU), w, 2w, 4w, 8w, 8w channels wide, each followed by a
2 x 2 max-pooling (Simonyan and Zisserman 2014, configuration D; w = 64 there). Centre: two convolutions at 1/32 of the
resolution. Decoder: the mirror image, per level a transposed convolution that doubles the resolution, the encoder
block's output beside it, two convolutions. Head: 1 x 1.

Batch normalisation exists only while training; `folded` merges it into the convolutions, so that what is shipped is
exactly the plain network.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

BLOCKS: Final = (2, 2, 3, 3, 3)
"""Convolutions in each encoder block."""

WIDTHS: Final = (1, 2, 4, 8, 8)
"""Channels of each block, in units of the network's width."""

MULTIPLE: Final = 32
"""Images must be a multiple of this high and wide: five halvings."""

CENTRE_LEVEL: Final = 128.0
"""Levels 0..255 enter the network as (level - 128) / 64, about -2..2."""

LEVEL_STEP: Final = 64.0


def normalised(levels: Tensor) -> Tensor:
    """(n, band, y, x) uint8 levels -> float32 network input."""
    return (levels.float() - CENTRE_LEVEL) / LEVEL_STEP


class Convolution(nn.Sequential):
    """3 x 3 convolution and ReLU; batch normalisation between them while training."""

    def __init__(self, before: int, after: int, norm: bool) -> None:
        layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1, bias=not norm)]
        if norm:
            layers.append(nn.BatchNorm2d(after))
        super().__init__(*layers, nn.ReLU(inplace=True))


def _block(before: int, after: int, count: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(*(Convolution(before if index == 0 else after, after, norm) for index in range(count)))


class UNet(nn.Module):
    """(n, bands, y, x) uint8 levels -> (n, classes, y, x) float32 logits; y and x multiples of 32."""

    def __init__(
        self, bands: int, classes: int, width: int = 16, norm: bool = False, heads: Sequence[int] = ()
    ) -> None:
        """`heads` are the numbers of classes of the tasks that share this trunk; empty: one task."""
        super().__init__()
        self.shape = (bands, classes, width)
        self.heads = tuple(heads) or (classes,)
        wide = [width * factor for factor in WIDTHS]
        before = [bands, *wide[:-1]]
        self.encoder = nn.ModuleList(
            _block(into, out, count, norm) for into, out, count in zip(before, wide, BLOCKS, strict=True)
        )
        self.centre = _block(wide[-1], wide[-1], 2, norm)
        below = [*wide[1:], wide[-1]]
        # no bias: the convolution after it has one, and on a GPU each bias costs a pass over memory
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(into, out, 2, stride=2, bias=False) for into, out in zip(below, wide, strict=True)
        )
        self.decoder = nn.ModuleList(_block(2 * out, out, 2, norm) for out in wide)
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, levels: Tensor) -> Tensor:
        """Logits of each pixel."""
        x = normalised(levels).to(self.head.weight.dtype)  # exact in half precision too
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


def probabilities(logits: Tensor, heads: Sequence[int] = ()) -> Tensor:
    """(n, class, y, x) logits -> uint8 probabilities, 255 is certainty; rounds as the ONNX model does.

    The classes of each of the `heads` (numbers of classes) sum to certainty; empty: those of all.
    """
    parts = torch.split(logits.float(), list(heads) or [logits.shape[1]], dim=1)
    shares = torch.cat([torch.softmax(part, dim=1) for part in parts], dim=1)
    return torch.round(shares * 255.0).to(torch.uint8)


def _fold(layer: Convolution) -> dict[str, Tensor]:
    """State of the one convolution that does the work of a convolution and its normalisation."""
    conv, norm = layer[0], layer[1]
    state = {name: value.detach() for name, value in conv.state_dict().items()}
    if isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None and norm.running_mean is not None:
        gain = norm.weight.detach() / torch.sqrt(norm.running_var + norm.eps)
        state["weight"] = state["weight"] * gain[:, None, None, None]
        state["bias"] = norm.bias.detach() - norm.running_mean * gain
    return state


def folded(model: UNet) -> UNet:
    """The plain network that computes what `model` computes in evaluation, on the CPU, ready to ship."""
    plain = UNet(*model.shape, heads=model.heads)
    source = dict(model.named_modules())
    for name, layer in plain.named_modules():
        twin = source[name]
        if isinstance(layer, Convolution) and isinstance(twin, Convolution):
            layer[0].load_state_dict(_fold(twin))
        elif isinstance(layer, nn.ConvTranspose2d) or name == "head":
            layer.load_state_dict(twin.state_dict())
    return plain.eval()
