"""Knowledge distillation: teacher networks whose probabilities another network learns in addition to its labels."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from s2ops.errors import ConfigError
from s2ops.models.onnx_export import load_into_torch
from s2ops.models.registry import TRAINABLE, NetworkTask, list_tasks, read_metadata
from s2ops.models.unet import UNet


class HeadTeachers(nn.Module):
    """Teachers of a network's heads, evaluated without gradients on the levels (n, band, y, x) of the network."""

    def __init__(self, network: str, given: Path | Mapping[str, Path]) -> None:
        """Load the teachers.

        Args:
            network: Name of the network in training.
            given: ONNX file of `network`, or one file per head: of `network`, or of the network for that task alone.

        Raises:
            ConfigError: If a file is missing or is another network, or if a head has no teacher.
        """
        super().__init__()
        self.members = nn.ModuleList()
        self._bands: list[list[int]] = []
        self._classes: list[slice] = []
        for task in list_tasks(network):
            path = given.get(task.name) if isinstance(given, Mapping) else given
            if path is None:
                raise ConfigError(
                    f"Cannot train {network}: its head {task.name} has no teacher; name one teacher per head."
                )
            teacher, classes = _load_teacher(network, task, path)
            own = TRAINABLE[network].bands
            self.members.append(teacher)
            self._bands.append([own.index(band) for band in TRAINABLE[read_metadata(path).name].bands])
            self._classes.append(classes)

    @torch.no_grad()
    def forward(self, levels: Tensor, known: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Evaluate the teachers.

        Args:
            levels: Levels (n, band, y, x) of the network in training.
            known: Samples whose pool the teachers know, bool (n,).

        Returns:
            Per head the logits (n, class, y, x), and where its teacher counts (n, y, x): in known samples, where all
            of its bands have data.
        """
        answers = []
        for member, bands, classes in zip(self.members, self._bands, self._classes, strict=True):
            seen = levels[:, bands]
            answers.append((member(seen)[:, classes], (seen > 0).all(dim=1) & known[:, None, None]))
        return answers


def _load_teacher(network: str, task: NetworkTask, path: Path) -> tuple[UNet, slice]:
    """Load a teacher; return it and the position of the task's classes among its classes."""
    if not path.is_file():
        raise ConfigError(f"Cannot read the teacher {path}: there is no such file; name an ONNX file of {network}.")
    name, teacher = read_metadata(path).name, load_into_torch(path)
    if not isinstance(teacher, UNet) or name not in (network, task.name):
        wanted = network if task.name == network else f"{network} or {task.name}"
        raise ConfigError(f"Cannot use the teacher {path}: it is the network {name}; give one of {wanted}.")
    return teacher, task.classes if name == network else slice(None)
