"""Haze classification network of the paper: three convolutions on a preview give one probability of haze."""

from typing import Final

import torch
from torch import Tensor, nn

from s2ops.models.unet import normalize_levels

DOWNSAMPLING_FACTOR: Final = 8
"""Pixels of the preview per cell of the last layer, along each axis: three 2 x 2 poolings."""


class HazeNet(nn.Module):
    """Haze classifier from uint8 TCI levels (n, band, y, x) to float32 logits (n,); y and x are at least 8.

    Each convolution (3 x 3, ReLU) is followed by a 2 x 2 max-pooling. The last layer is averaged over pixels with data
    only, so that no data beyond a swath edge does not count as dark ground.
    """

    def __init__(self, bands: int = 3, width: int = 16) -> None:
        super().__init__()
        self.shape = (bands, 1, width)
        wide = (width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            nn.Conv2d(into, out, 3, padding=1) for into, out in zip((bands, *wide[:-1]), wide, strict=True)
        )
        self.head = nn.Linear(wide[-1], 1)

    def forward(self, levels: Tensor) -> Tensor:
        """Compute the logit of each image."""
        x = normalize_levels(levels)
        for layer in self.layers:
            x = nn.functional.max_pool2d(torch.relu(layer(x)), 2)
        valid = torch.clamp(levels.float().amax(dim=1, keepdim=True), 0.0, 1.0)
        part = nn.functional.avg_pool2d(valid, DOWNSAMPLING_FACTOR)
        mean = (x * part).sum(dim=(2, 3)) / torch.clamp(part.sum(dim=(2, 3)), min=1e-3)
        logits: Tensor = self.head(mean)[:, 0]
        return logits
