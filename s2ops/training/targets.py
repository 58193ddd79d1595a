"""Training targets of a network's heads (multi-task): classes, labels and loss of each head.

A network of one task has one head.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from s2ops.models.registry import TRAINABLE, list_tasks
from s2ops.training.datasets.pools import COVER_LABELS, EITHER_CLASSES
from s2ops.training.losses import compute_distillation_loss, compute_segmentation_loss


@dataclass(frozen=True)
class HeadTarget:
    """Training target of one head: its classes among those of the network, and its labels."""

    names: tuple[str, ...]
    """Names of the head's classes."""
    classes: slice
    """Position of the head's classes among those of the network."""
    labels: Tensor
    """Indices of the head's classes, `EITHER` or `IGNORE`."""
    either: slice
    """Classes between which `EITHER` does not decide."""


def iterate_targets(network: str, labels: Tensor) -> Iterator[HeadTarget]:
    """Yield the target of each head; `labels` are those of `pools.derive_labels`."""
    spec = TRAINABLE[network]
    for task in list_tasks(network):
        own = _copy_label_table(task.name, labels.device)[labels.long()] if spec.heads else labels
        either = EITHER_CLASSES.get(task.name, slice(1, None))
        yield HeadTarget(spec.classes[task.classes], task.classes, own, either)


def mask_trees(network: str, labels: Tensor) -> Tensor:
    """Mask the pixels (n, y, x) labelled as tree; none if the network has no such class."""
    found = torch.zeros_like(labels, dtype=torch.bool)
    for one in iterate_targets(network, labels):
        if "tree" in one.names:
            found |= one.labels == one.names.index("tree")
    return found


def compute_network_loss(network: str, logits: Tensor, labels: Tensor, weights: Tensor, dice: float) -> Tensor:
    """Compute the mean segmentation loss of the heads; `weights` has one value per class of the network."""
    return torch.stack(
        [
            compute_segmentation_loss(logits[:, one.classes], one.labels, weights[one.classes], dice, one.either)
            for one in iterate_targets(network, labels)
        ]
    ).mean()


def compute_teacher_loss(network: str, logits: Tensor, taught: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Compute the mean distillation loss of the heads; `taught` is the output of `HeadTeachers`."""
    heads = zip(list_tasks(network), taught, strict=True)
    return torch.stack([compute_distillation_loss(logits[:, one.classes], *answer) for one, answer in heads]).mean()


@cache
def _copy_label_table(network: str, device: torch.device) -> Tensor:
    """Copy the table from cover codes to labels to the device, once."""
    return torch.from_numpy(COVER_LABELS[network]).to(device)
