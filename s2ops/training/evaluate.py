"""Judge a network on pools that training did not see, and draw its loss."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import torch
from torch import Tensor

from s2ops.models.haze_net import HazeNet
from s2ops.models.registry import TRAINABLE, list_head_sizes, list_tasks
from s2ops.models.unet import UNet
from s2ops.training.datasets.pools import EITHER, Pool, derive_labels, select_images
from s2ops.training.losses import auc, best_temperature, class_scores, confusion
from s2ops.training.targets import iterate_targets

BATCH_SIZE: Final = 16
CALIBRATION_STRIDE: Final = 997
"""Every so many-th known pixel is kept for the temperature."""


def evaluate_network(
    network: str,
    model: UNet | HazeNet,
    pools: Sequence[str],
    folder: Path,
    device: torch.device,
    made: Mapping[str, Pool],
) -> tuple[float | tuple[float, ...], dict[str, float]]:
    """The temperature that makes probabilities honest over all `pools`, and scores named 'pool: score class'.

    Of a network with several heads each has a temperature. `made` holds pools that lie in no subfolder of `folder`.
    """
    model = model.to(device).eval()
    scores: dict[str, float] = {}
    heads = list_tasks(network)
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in heads]
    for name in pools:
        pool = made[name] if name in made else Pool.load(folder / name)
        image, label = torch.from_numpy(select_images(network, pool)), torch.from_numpy(derive_labels(network, pool))
        if isinstance(model, HazeNet):
            logits = _predict_logits(model, image, device)
            scores[f"{name}: auc"] = auc(logits, label)
            kept[0].append((torch.stack([-logits / 2, logits / 2], dim=1), label))
            continue
        counted = _count_heads(model, image, label, network, device)
        for head, (task, (counts, sample)) in enumerate(zip(heads, counted, strict=True)):
            found = class_scores(counts, TRAINABLE[task.name].classes)
            of = f"{name}: " if len(heads) == 1 else f"{name}: {task.name} "
            scores |= {f"{of}{key}": value for key, value in found.items()}
            kept[head].append(sample)
    fitted = tuple(best_temperature(*(torch.cat(side) for side in zip(*part, strict=True))) for part in kept)
    return fitted if len(fitted) > 1 else fitted[0], {key: round(value, 4) for key, value in scores.items()}


def _split_batches(samples: Tensor) -> list[Tensor]:
    return [samples[start : start + BATCH_SIZE] for start in range(0, len(samples), BATCH_SIZE)]


@torch.no_grad()
def _predict_logits(model: UNet | HazeNet, image: Tensor, device: torch.device) -> Tensor:
    return torch.cat([model(part.to(device)).float().cpu() for part in _split_batches(image)])


def _count_heads(
    model: UNet, image: Tensor, label: Tensor, network: str, device: torch.device
) -> list[tuple[Tensor, tuple[Tensor, Tensor]]]:
    """Of each head: confusion counts over all samples, and some pixels' logits (n, class) with their labels."""
    sizes = list_head_sizes(network)
    counts = [torch.zeros(size, size, dtype=torch.int64) for size in sizes]
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in sizes]
    for part, given in zip(_split_batches(image), _split_batches(label), strict=True):
        answer = _predict_logits(model, part, device)
        for head, own in enumerate(iterate_targets(network, given)):
            logits, truth = answer[:, own.classes], own.labels
            counts[head] += confusion(logits.argmax(dim=1), truth, sizes[head])
            known = truth < EITHER
            kept[head].append((logits.movedim(1, -1)[known][::CALIBRATION_STRIDE], truth[known][::CALIBRATION_STRIDE]))
    samples = [tuple(torch.cat(side) for side in zip(*part, strict=True)) for part in kept]
    return [(table, (logits, truth)) for table, (logits, truth) in zip(counts, samples, strict=True)]


def plot_loss_curve(history: Sequence[tuple[int, float]], title: str, path: Path) -> None:
    """The loss over the steps as a PNG."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the backend must be chosen before

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot([step for step, _ in history], [loss for _, loss in history])
    axes.set(title=title, xlabel="step", ylabel="loss", yscale="log")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
