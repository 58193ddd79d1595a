"""A U-net by torch's own operators: where there is no Hopper GPU, or where int8 would change too much."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from s2ops.inference.gpu.layers import convolutions, sent
from s2ops.models.unet import UNet, normalised, probabilities


class PlainUNet:
    """One network: in half precision by cuDNN on a GPU, in float32 on the CPU."""

    def __init__(self, model: UNet, image: Tensor, out: Tensor) -> None:
        """From `image` (batch, band, side, side) to `out` (batch, plane, side, side): the classes that are `sent`."""
        kind = torch.float16 if image.is_cuda else torch.float32
        self._model = model.to(device=image.device, dtype=kind)
        for module in self._model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        self._forward = self._fused if image.is_cuda else self._model
        self._image, self._out = image, out
        self._sent = sent(model.heads)

    def run(self, images: int) -> None:
        """Compute the first `images` of the batch, one by one: an answer must not depend on the size of the batch."""
        with torch.inference_mode():
            for index in range(images):
                logits: Tensor = self._forward(self._image[index : index + 1])
                self._out[index] = probabilities(logits, self._model.heads)[0, self._sent]

    def _fused(self, levels: Tensor) -> Tensor:
        """The model's forward with convolution, bias and rectification in one, and without concatenation."""
        x = normalised(levels).half().contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for block in self._model.encoder:
            for _, step in convolutions(block):
                x = _rectified(x, step.weight, step.bias)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        for _, step in convolutions(self._model.centre):
            x = _rectified(x, step.weight, step.bias)
        for up, block, skip in self._upwards(skips):
            (_, first), (_, second) = convolutions(block)
            doubled = up(x)
            near, far = torch.split(first.weight, [doubled.shape[1], skip.shape[1]], dim=1)
            part = nn.functional.conv2d(doubled, near.contiguous(memory_format=torch.channels_last), padding=1)
            far = far.contiguous(memory_format=torch.channels_last)
            ones = (1, 1)
            x = torch.cudnn_convolution_add_relu(skip, far, part, 1.0, first.bias, ones, ones, ones, 1)
            x = _rectified(x, second.weight, second.bias)
        logits: Tensor = self._model.head(x)
        return logits

    def _upwards(self, skips: list[Tensor]) -> Iterator[tuple[nn.Module, nn.Module, Tensor]]:
        levels = zip(self._model.up, self._model.decoder, skips, strict=True)
        return iter(list(levels)[::-1])


def _rectified(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    ones = (1, 1)
    return torch.cudnn_convolution_relu(x, weight, bias, ones, ones, ones, 1)
