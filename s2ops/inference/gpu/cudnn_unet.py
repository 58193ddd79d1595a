"""U-net by torch's own operators (cuDNN on a GPU): the fallback without a Hopper GPU or with too large deviations."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from s2ops.inference.gpu.layers import iterate_convolutions
from s2ops.models.registry import list_transmitted_classes
from s2ops.models.unet import UNet, compute_probabilities, normalize_levels


class TorchUNet:
    """U-net that runs in float16 by cuDNN on a GPU, or in float32 on the CPU (`DeviceNetwork`)."""

    def __init__(self, model: UNet, image: Tensor, out: Tensor) -> None:
        """Bind a network to the engine's buffers.

        Args:
            model: Network in evaluation mode.
            image: Input, uint8 levels (batch, band, side, side).
            out: Output, uint8 probabilities (batch, transmitted class, side, side).
        """
        kind = torch.float16 if image.is_cuda else torch.float32
        self._model = model.to(device=image.device, dtype=kind)
        for module in self._model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        self._forward = self._forward_by_cudnn if image.is_cuda else self._model
        self._image, self._out = image, out
        self._transmitted = list_transmitted_classes(model.heads)

    def run(self, images: int) -> None:
        """Compute the first `images` of the batch one by one: a result must not depend on the batch size."""
        with torch.inference_mode():
            for index in range(images):
                logits: Tensor = self._forward(self._image[index : index + 1])
                self._out[index] = compute_probabilities(logits, self._model.heads)[0, self._transmitted]

    def _forward_by_cudnn(self, levels: Tensor) -> Tensor:
        """Compute the logits with convolution, bias and ReLU fused into one call, and without concatenation."""
        x = normalize_levels(levels).half().contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for block in self._model.encoder:
            for _, step in iterate_convolutions(block):
                x = _convolve_and_rectify(x, step.weight, step.bias)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        for _, step in iterate_convolutions(self._model.centre):
            x = _convolve_and_rectify(x, step.weight, step.bias)
        for up, block, skip in self._iterate_decoder(skips):
            (_, first), (_, second) = iterate_convolutions(block)
            doubled = up(x)
            near, far = torch.split(first.weight, [doubled.shape[1], skip.shape[1]], dim=1)
            part = nn.functional.conv2d(doubled, near.contiguous(memory_format=torch.channels_last), padding=1)
            far = far.contiguous(memory_format=torch.channels_last)
            ones = (1, 1)
            x = torch.cudnn_convolution_add_relu(skip, far, part, 1.0, first.bias, ones, ones, ones, 1)
            x = _convolve_and_rectify(x, second.weight, second.bias)
        logits: Tensor = self._model.head(x)
        return logits

    def _iterate_decoder(self, skips: list[Tensor]) -> Iterator[tuple[nn.Module, nn.Module, Tensor]]:
        """Return the levels of the decoder (doubling, block, skip connection), smallest image first."""
        levels = zip(self._model.up, self._model.decoder, skips, strict=True)
        return iter(list(levels)[::-1])


def _convolve_and_rectify(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    ones = (1, 1)
    return torch.cudnn_convolution_relu(x, weight, bias, ones, ones, ones, 1)
