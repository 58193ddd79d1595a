"""What each head of a network is asked: its logits and its labels. A network of one task has one head."""

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
    """One head's part of a batch."""

    names: tuple[str, ...]
    """Of its classes."""
    classes: slice
    """Among those of the network."""
    labels: Tensor
    """Indices of its classes, `EITHER` or `IGNORE`."""
    either: slice
    """The classes that `EITHER` leaves open."""


def iterate_targets(network: str, labels: Tensor) -> Iterator[HeadTarget]:
    """Of each head; `labels` are those of `pools.labels`."""
    spec = TRAINABLE[network]
    for task in list_tasks(network):
        own = _copy_label_table(task.name, labels.device)[labels.long()] if spec.heads else labels
        either = EITHER_CLASSES.get(task.name, slice(1, None))
        yield HeadTarget(spec.classes[task.classes], task.classes, own, either)


def mask_trees(network: str, labels: Tensor) -> Tensor:
    """(n, y, x) where `labels` say tree; nowhere where the network knows no trees."""
    found = torch.zeros_like(labels, dtype=torch.bool)
    for one in iterate_targets(network, labels):
        if "tree" in one.names:
            found |= one.labels == one.names.index("tree")
    return found


def compute_network_loss(network: str, logits: Tensor, labels: Tensor, weights: Tensor, dice: float) -> Tensor:
    """Mean over the heads of `segmentation_loss`; `weights` has one for each class of the network."""
    return torch.stack(
        [
            compute_segmentation_loss(logits[:, one.classes], one.labels, weights[one.classes], dice, one.either)
            for one in iterate_targets(network, labels)
        ]
    ).mean()


def compute_teacher_loss(network: str, logits: Tensor, taught: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean over the heads of `distillation_loss`; `taught` are the answers of `Teachers`."""
    heads = zip(list_tasks(network), taught, strict=True)
    return torch.stack([compute_distillation_loss(logits[:, one.classes], *answer) for one, answer in heads]).mean()


@cache
def _copy_label_table(network: str, device: torch.device) -> Tensor:
    return torch.from_numpy(COVER_LABELS[network]).to(device)
