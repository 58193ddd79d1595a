"""Judge a network on pools that training did not see, and draw its loss."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import torch
from torch import Tensor

from s2ops.models.datasets.pools import EITHER, Pool, images, labels
from s2ops.models.haze import HazeNet
from s2ops.models.registry import TRAINABLE
from s2ops.models.scores import auc, best_temperature, class_scores, confusion
from s2ops.models.unet import UNet

BATCH: Final = 16
KEPT: Final = 997
"""Every so many-th known pixel is kept for the temperature."""


def judge(
    network: str,
    model: UNet | HazeNet,
    pools: Sequence[str],
    folder: Path,
    device: torch.device,
    made: Mapping[str, Pool],
) -> tuple[float, dict[str, float]]:
    """The temperature that makes probabilities honest over all `pools`, and scores named 'pool: score class'.

    `made` holds pools that lie in no subfolder of `folder`.
    """
    model = model.to(device).eval()
    scores: dict[str, float] = {}
    kept: list[tuple[Tensor, Tensor]] = []
    for name in pools:
        pool = made[name] if name in made else Pool.load(folder / name)
        image, label = torch.from_numpy(images(network, pool)), torch.from_numpy(labels(network, pool))
        if isinstance(model, HazeNet):
            logits = _logits(model, image, device)
            scores[f"{name}: auc"] = auc(logits, label)
            kept.append((torch.stack([-logits / 2, logits / 2], dim=1), label))
            continue
        counts, sample = _count(model, image, label, len(TRAINABLE[network].classes), device)
        scores |= {f"{name}: {key}": value for key, value in class_scores(counts, TRAINABLE[network].classes).items()}
        kept.append(sample)
    temperature = best_temperature(*(torch.cat(part) for part in zip(*kept, strict=True)))
    return temperature, {key: round(value, 4) for key, value in scores.items()}


def _batches(samples: Tensor) -> list[Tensor]:
    return [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]


@torch.no_grad()
def _logits(model: UNet | HazeNet, image: Tensor, device: torch.device) -> Tensor:
    return torch.cat([model(part.to(device)).float().cpu() for part in _batches(image)])


def _count(
    model: UNet, image: Tensor, label: Tensor, classes: int, device: torch.device
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Confusion counts over all samples, and some pixels' logits (n, class) with their labels."""
    counts = torch.zeros(classes, classes, dtype=torch.int64)
    kept = []
    for part, truth in zip(_batches(image), _batches(label), strict=True):
        logits = _logits(model, part, device)
        counts += confusion(logits.argmax(dim=1), truth, classes)
        known = truth < EITHER
        kept.append((logits.movedim(1, -1)[known][::KEPT], truth[known][::KEPT]))
    logits_kept, truth_kept = (torch.cat(side) for side in zip(*kept, strict=True))
    return counts, (logits_kept, truth_kept)


def draw_curve(history: Sequence[tuple[int, float]], title: str, path: Path) -> None:
    """The loss over the steps as a PNG."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - the backend must be chosen before

    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot([step for step, _ in history], [loss for _, loss in history])
    axes.set(title=title, xlabel="step", ylabel="loss", yscale="log")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
