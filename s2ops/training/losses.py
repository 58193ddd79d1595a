"""Loss functions of training: cross entropy with Dice, distillation (Kullback-Leibler divergence), haze."""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from s2ops.training.datasets.pools import EITHER

MAX_CLASS_BALANCE: Final = 8.0
"""Maximum weight of a pixel of a rare class in distillation, relative to balanced classes."""


def compute_segmentation_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, dice: float, pair: slice = slice(1, None)
) -> Tensor:
    """Compute weighted cross entropy plus `dice` times one minus the mean Dice coefficient of the classes.

    Cross entropy calibrates the probabilities; Dice prevents rare classes (shadow, industry) from being ignored.

    Args:
        logits: Logits (n, class, y, x).
        labels: Class indices (n, y, x), uint8; `IGNORE` does not count, `EITHER` is one of the classes `pair`.
        weights: Weight of each class.
        dice: Weight of the Dice term; 0 omits it.
        pair: Classes between which `EITHER` does not decide: the loss uses the sum of their probabilities.
    """
    known = labels < EITHER
    target = torch.where(known, labels, 0).long()
    log_probs = torch.log_softmax(logits.float(), dim=1)
    each_loss = -log_probs.gather(1, target[:, None])[:, 0]
    either = labels == EITHER
    # for EITHER only the sum of the pair's probabilities counts, in any proportion
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
    """Compute the mean Kullback-Leibler divergence from a teacher's class probabilities over the `known` pixels.

    Classes have equal weight however rarely the teacher predicts them (up to `MAX_CLASS_BALANCE`): a river is few
    pixels.

    Args:
        logits: Logits (n, class, y, x) of the network in training.
        taught: Logits (n, class, y, x) of the teacher.
        known: Pixels that count, bool (n, y, x).
    """
    own, wanted = torch.log_softmax(logits.float(), dim=1), torch.log_softmax(taught.float(), dim=1)
    share = torch.exp(wanted) * known[:, None]
    frequency = share.sum(dim=(0, 2, 3)) / known.sum().clamp(min=1)
    balance = (1 / (len(frequency) * frequency.clamp(min=1e-6))).clamp(max=MAX_CLASS_BALANCE)
    weight = (share * balance[:, None, None]).sum(dim=1)
    each = functional.kl_div(own, wanted, log_target=True, reduction="none").sum(dim=1)
    return (each * weight).sum() / weight.sum().clamp(min=1)


def compute_haze_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Compute the binary cross entropy of logits (n,) against labels (n,) that are 0 or 1."""
    return functional.binary_cross_entropy_with_logits(logits.float(), labels.float())
