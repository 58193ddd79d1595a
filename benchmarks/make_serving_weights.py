"""What the serving benchmark runs: networks of any width and window, and windows to run them on."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from s2ops.constants import BANDS, UInt8
from s2ops.inference.gpu import calibration_images
from s2ops.models.onnx_export import export, load_into_torch, temperatures
from s2ops.models.registry import NETWORKS, find
from s2ops.models.unet import UNet


def write(folder: Path, names: list[str], source: str | None, width: int, window: int) -> None:
    """Networks with another window, made `width` wide where theirs is smaller."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        file = find(name, source)
        model = load_into_torch(file.path)
        if not isinstance(model, UNet):
            raise SystemExit(f"{name} labels no pixels: leave it out")
        divisor = temperatures(file.meta)  # exporting divides by it once more
        model.head.weight.data *= divisor[:, None, None, None]
        model.head.get_parameter("bias").data *= divisor
        wide = widened(model, width)
        meta = file.meta.model_copy(update={"window": window, "width": wide.shape[2]})
        export(wide, meta, folder / f"{name}.onnx")


def widened(model: UNet, width: int) -> UNet:
    """The same function by a wider network: each channel several times, and each weight that much smaller.

    It costs what a trained network of that width costs, and its answers are those of the one it came from.
    """
    bands, classes, narrow = model.shape
    if width <= narrow:
        return model
    wide = UNet(bands, classes, width, heads=model.heads)
    source = dict(model.named_modules())
    copies = width // narrow
    for name, layer in wide.named_modules():
        twin = source[name]
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(twin, nn.Conv2d | nn.ConvTranspose2d):
            # a transposed convolution has its inputs first
            into, out = (0, 1) if isinstance(layer, nn.ConvTranspose2d) else (1, 0)
            weight = _repeated(
                _repeated(twin.weight.data, layer.weight.shape[into], into), layer.weight.shape[out], out
            )
            layer.weight.data = weight / (copies if layer.weight.shape[into] > bands else 1)
            if layer.bias is not None and twin.bias is not None:
                layer.bias.data = _repeated(twin.bias.data, len(layer.bias), 0)
    return wide.eval()


def _repeated(values: Tensor, length: int, axis: int) -> Tensor:
    return values if values.shape[axis] == length else values.repeat_interleave(length // values.shape[axis], axis)


def windows(bands: tuple[str, ...], count: int, side: int) -> UInt8:
    """(count, band, side, side) levels of the simulated world, each window another cut."""
    world = calibration_images.window(2 * side)[0, [BANDS.index(band) for band in bands]]
    starts = np.random.default_rng(5).integers(0, side, (count, 2))
    return np.stack([world[:, y : y + side, x : x + side] for y, x in starts.tolist()])


def operations(network: str, width: int) -> float:
    """Multiplications and additions of the network for one pixel, as its definition has them."""
    bands, classes = len(NETWORKS[network].bands), len(NETWORKS[network].classes)
    model, total, side = UNet(bands, classes, width), 0, 32
    shares: dict[str, float] = {}

    def count(name: str, layer: nn.Module, out: Tensor) -> None:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            pixels = out.shape[-1] ** 2
            if isinstance(layer, nn.ConvTranspose2d):
                pixels //= 4  # each input pixel meets every weight once
            shares[name] = 2 * layer.weight.numel() * pixels / side**2

    for name, layer in model.named_modules():
        layer.register_forward_hook(lambda layer, _, out, name=name: count(name, layer, out))
    with torch.no_grad():
        model(torch.zeros(1, bands, side, side, dtype=torch.uint8))
    return total + sum(shares.values())
