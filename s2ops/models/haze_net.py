"""The paper's haze network: three convolutions on a preview, one probability that the scene is hazy."""

import torch
from torch import Tensor, nn

from s2ops.models.unet import normalised

SHRINK = 8
"""Three halvings: one cell of the last layer is 8 x 8 pixels of the preview."""


class HazeNet(nn.Module):
    """(n, bands, y, x) uint8 TCI levels -> (n,) float32 logit of being hazy; y and x at least 8.

    Each convolution (3 x 3, ReLU) is followed by a 2 x 2 max-pooling. The last layer is averaged over the pixels that
    hold data, so that a swath edge in the preview does not look like darkness.
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
        """Logit of each image."""
        x = normalised(levels)
        for layer in self.layers:
            x = nn.functional.max_pool2d(torch.relu(layer(x)), 2)
        valid = torch.clamp(levels.float().amax(dim=1, keepdim=True), 0.0, 1.0)
        part = nn.functional.avg_pool2d(valid, SHRINK)
        mean = (x * part).sum(dim=(2, 3)) / torch.clamp(part.sum(dim=(2, 3)), min=1e-3)
        logits: Tensor = self.head(mean)[:, 0]
        return logits


def probability(logits: Tensor) -> Tensor:
    """(n,) logits -> uint8 probability, 255 is certainty; rounds as the ONNX model does."""
    return torch.round(torch.sigmoid(logits.float()) * 255.0).to(torch.uint8)
