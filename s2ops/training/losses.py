"""What training minimises, and what a network is judged by."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from s2ops.training.datasets.pools import EITHER

MAX_CLASS_BALANCE: Final = 8.0
"""How many times a pixel of a rare class counts at most while a teacher is learnt from."""


def compute_segmentation_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, dice: float, pair: slice = slice(1, None)
) -> Tensor:
    """Cross entropy with class weights, plus `dice` times one minus the mean Dice coefficient of the classes.

    Cross entropy gives probabilities that mean something; Dice keeps rare classes (shadow, industry) alive. Pixels
    labelled `EITHER` ask for the sum of the classes `pair`.
    """
    known = labels < EITHER
    target = torch.where(known, labels, 0).long()
    log_probs = torch.log_softmax(logits.float(), dim=1)
    each_loss = -log_probs.gather(1, target[:, None])[:, 0]
    either = labels == EITHER
    # where nobody knows which, the classes may share the probability as they like
    each_loss = torch.where(either, -torch.logsumexp(log_probs[:, pair], dim=1), each_loss)
    weight = weights[torch.where(either, pair.start, target)] * (known | either)
    entropy = (each_loss * weight).sum() / torch.clamp(weight.sum(), min=1.0)
    if dice == 0:
        return entropy
    probs = torch.exp(log_probs) * known[:, None]
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1) * known[:, None]
    both, each = (probs * truth).sum(dim=(0, 2, 3)), (probs + truth).sum(dim=(0, 2, 3))
    return entropy + dice * (1 - ((2 * both + 1) / (each + 1)).mean())


def compute_distillation_loss(logits: Tensor, taught: Tensor, known: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of the pixels' classes from those of a teacher, over the `known` pixels.

    Classes weigh alike however rarely the teacher says them (up to `RARE` times): a river is few pixels. `logits` and
    `taught` are (n, class, y, x) logits, `known` is (n, y, x).
    """
    own, wanted = torch.log_softmax(logits.float(), dim=1), torch.log_softmax(taught.float(), dim=1)
    share = torch.exp(wanted) * known[:, None]
    frequency = share.sum(dim=(0, 2, 3)) / known.sum().clamp(min=1)
    balance = (1 / (len(frequency) * frequency.clamp(min=1e-6))).clamp(max=MAX_CLASS_BALANCE)
    weight = (share * balance[:, None, None]).sum(dim=1)
    each = functional.kl_div(own, wanted, log_target=True, reduction="none").sum(dim=1)
    return (each * weight).sum() / weight.sum().clamp(min=1)


def compute_haze_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross entropy of (n,) logits against 0 or 1."""
    return functional.binary_cross_entropy_with_logits(logits.float(), labels.float())


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, classes) pixel counts, rows are the truth; pixels of no certain class do not count."""
    known = labels < EITHER
    index = labels[known].long() * classes + predicted[known].long()
    return torch.bincount(index, minlength=classes * classes).reshape(classes, classes)


def class_scores(counts: Tensor, classes: Sequence[str]) -> dict[str, float]:
    """IoU and F1 of each class that occurs in the truth, and the part of pixels that are right."""
    hit = counts.diag().double()
    true, found = counts.sum(dim=1).double(), counts.sum(dim=0).double()
    out = {"accuracy": float(hit.sum() / counts.sum().clamp(min=1))}
    for index, name in enumerate(classes):
        if true[index] > 0:
            out[f"iou {name}"] = float(hit[index] / (true[index] + found[index] - hit[index]))
            out[f"f1 {name}"] = float(2 * hit[index] / (true[index] + found[index]))
    return out


def auc(scores: Tensor, labels: Tensor) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative; ties count half."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    above = (positive[:, None] > negative).double().mean() + 0.5 * (positive[:, None] == negative).double().mean()
    return float(above)


def best_temperature(logits: Tensor, labels: Tensor) -> float:
    """The divisor of the logits (n, class) that makes the labels (n,) likeliest: probabilities become honest."""
    candidates = torch.exp(torch.linspace(-0.7, 1.4, 43)).tolist()
    losses = [float(functional.cross_entropy(logits / value, labels.long())) for value in candidates]
    return round(float(candidates[losses.index(min(losses))]), 3)
