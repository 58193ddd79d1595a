"""Validation of a trained network: scores on held-out pools, temperature scaling (calibration), loss curve."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from s2ops.constants import Int64
from s2ops.imaging.classification_metrics import (
    compute_auc,
    compute_f1,
    compute_iou,
    compute_overall_accuracy,
    count_confusion,
)
from s2ops.models.haze_net import HazeNet
from s2ops.models.registry import TRAINABLE, list_head_sizes, list_tasks
from s2ops.models.unet import UNet
from s2ops.training.datasets.pools import EITHER, Pool, derive_labels, select_images
from s2ops.training.targets import iterate_targets

BATCH_SIZE: Final = 16
"""Samples per forward pass."""

CALIBRATION_STRIDE: Final = 997
"""Stride at which known pixels are sampled to fit the temperature."""


def evaluate_network(
    network: str,
    model: UNet | HazeNet,
    pools: Sequence[str],
    folder: Path,
    device: torch.device,
    made: Mapping[str, Pool],
) -> tuple[float | tuple[float, ...], dict[str, float]]:
    """Fit the temperature of a network and score it on held-out pools.

    Args:
        network: Name of the network.
        model: Trained network.
        pools: Names of the held-out pools.
        folder: Folder of the pools.
        device: Device of the evaluation.
        made: Pools in memory, by name; they have no subfolder in `folder`.

    Returns:
        Temperature that calibrates the probabilities over all pools (one per head if there are several), and scores
        named 'pool: score class' with four decimals.
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
            scores[f"{name}: auc"] = compute_auc(label.numpy() == 1, logits.numpy())
            kept[0].append((torch.stack([-logits / 2, logits / 2], dim=1), label))
            continue
        counted = _count_heads(model, image, label, network, device)
        for head, (task, (counts, sample)) in enumerate(zip(heads, counted, strict=True)):
            found = compute_class_scores(counts, TRAINABLE[task.name].classes)
            of = f"{name}: " if len(heads) == 1 else f"{name}: {task.name} "
            scores |= {f"{of}{key}": value for key, value in found.items()}
            kept[head].append(sample)
    fitted = tuple(fit_temperature(*(torch.cat(side) for side in zip(*part, strict=True))) for part in kept)
    return fitted if len(fitted) > 1 else fitted[0], {key: round(value, 4) for key, value in scores.items()}


def compute_class_scores(table: Int64, classes: Sequence[str]) -> dict[str, float]:
    """Compute overall accuracy (0 for an empty table), and IoU and F1 of each class that occurs in the truth.

    Args:
        table: Confusion matrix, rows are the truth.
        classes: Names of its classes.

    Returns:
        Scores by name: 'accuracy', 'iou CLASS', 'f1 CLASS'.
    """
    scores = {"accuracy": compute_overall_accuracy(table) if table.any() else 0.0}
    for index, name in enumerate(classes):
        if table[index].any():
            scores[f"iou {name}"] = compute_iou(table, index)
            scores[f"f1 {name}"] = compute_f1(table, index)
    return scores


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Fit the divisor of the logits that minimises cross entropy: temperature scaling (Guo et al. 2017).

    Args:
        logits: Logits (n, class).
        labels: Class indices (n,).

    Returns:
        Temperature, three decimals; above 1 for an overconfident network.
    """
    candidates = torch.exp(torch.linspace(-0.7, 1.4, 43)).tolist()
    losses = [float(functional.cross_entropy(logits / value, labels.long())) for value in candidates]
    return round(float(candidates[losses.index(min(losses))]), 3)


def _split_batches(samples: Tensor) -> list[Tensor]:
    """Split samples (n, ...) into batches of `BATCH_SIZE`."""
    return [samples[start : start + BATCH_SIZE] for start in range(0, len(samples), BATCH_SIZE)]


@torch.no_grad()
def _predict_logits(model: UNet | HazeNet, image: Tensor, device: torch.device) -> Tensor:
    """Predict the logits of all samples, on the CPU."""
    return torch.cat([model(part.to(device)).float().cpu() for part in _split_batches(image)])


def _count_heads(
    model: UNet, image: Tensor, label: Tensor, network: str, device: torch.device
) -> list[tuple[Int64, tuple[Tensor, Tensor]]]:
    """Count the confusion of each head over all samples; sample logits (n, class) and labels (n,) of known pixels."""
    sizes = list_head_sizes(network)
    counts = [np.zeros((size, size), np.int64) for size in sizes]
    kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in sizes]
    for part, given in zip(_split_batches(image), _split_batches(label), strict=True):
        answer = _predict_logits(model, part, device)
        for head, own in enumerate(iterate_targets(network, given)):
            logits, truth = answer[:, own.classes], own.labels
            counts[head] += count_confusion(truth.numpy(), logits.argmax(dim=1).numpy(), sizes[head])
            known = truth < EITHER
            kept[head].append((logits.movedim(1, -1)[known][::CALIBRATION_STRIDE], truth[known][::CALIBRATION_STRIDE]))
    samples = [tuple(torch.cat(side) for side in zip(*part, strict=True)) for part in kept]
    return [(table, (logits, truth)) for table, (logits, truth) in zip(counts, samples, strict=True)]


def plot_loss_curve(history: Sequence[tuple[int, float]], title: str, path: Path) -> None:
    """Plot the loss over the steps as a PNG."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the backend must be chosen before

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot([step for step, _ in history], [loss for _, loss in history])
    axes.set(title=title, xlabel="step", ylabel="loss", yscale="log")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
