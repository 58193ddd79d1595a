"""Networks whose answers another one learns beside its labels (distillation): its own kind, or one for each head."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from s2ops.errors import ConfigError
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import TRAINABLE, NetworkTask, list_tasks, read_metadata
from s2ops.models.unet import UNet


class HeadTeachers(nn.Module):
    """Asked with (n, band, y, x) levels of the learning network, in evaluation and without gradients."""

    def __init__(self, network: str, given: Path | Mapping[str, Path]) -> None:
        """`given` is an ONNX file of `network`, or by head a file of `network` or of the one that does only that task.

        Raises ConfigError where a file is missing, is of another network, or a head has none.
        """
        super().__init__()
        self.members = nn.ModuleList()
        self._bands: list[list[int]] = []
        self._classes: list[slice] = []
        for task in list_tasks(network):
            path = given.get(task.name) if isinstance(given, Mapping) else given
            if path is None:
                raise ConfigError(f"{network} has no teacher for {task.name}: name one for each head")
            teacher, classes = _load_teacher(network, task, path)
            own = TRAINABLE[network].bands
            self.members.append(teacher)
            self._bands.append([own.index(band) for band in TRAINABLE[read_metadata(path).name].bands])
            self._classes.append(classes)

    @torch.no_grad()
    def forward(self, levels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Of each head: (n, class, y, x) logits, and (n, y, x) where its teacher has seen data in every band."""
        answers = []
        for member, bands, classes in zip(self.members, self._bands, self._classes, strict=True):
            seen = levels[:, bands]
            answers.append((member(seen)[:, classes], (seen > 0).all(dim=1)))
        return answers


def _load_teacher(network: str, task: NetworkTask, path: Path) -> tuple[UNet, slice]:
    """A network, and which of its classes are the task's."""
    if not path.is_file():
        raise ConfigError(f"there is no teacher at {path}: name an ONNX file of {network}")
    name, teacher = read_metadata(path).name, load_into_torch(path)
    if not isinstance(teacher, UNet) or name not in (network, task.name):
        wanted = network if task.name == network else f"{network} or {task.name}"
        raise ConfigError(f"the teacher {path} is {name}: give one of {wanted}")
    return teacher, task.classes if name == network else slice(None)
