"""The pools of one network in memory, from which each step draws its batch."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from s2ops.errors import ConfigError
from s2ops.models.registry import TRAINABLE
from s2ops.training.augmentation import augment_geometry, augment_radiometry, brighten_trees, shift_vegetation_nir
from s2ops.training.config import TrainConfig
from s2ops.training.datasets.pools import Pool, derive_labels, select_images
from s2ops.training.targets import iterate_targets, mask_trees


class Batch(NamedTuple):
    """Windows, and what is known of them."""

    image: Tensor
    """(n, band, y, x) uint8 levels as another day might show them."""
    label: Tensor
    """(n, y, x) uint8, or (n,)."""
    plain: Tensor
    """The same windows with the light, the leaves and all the bands of their own day."""


class BatchSampler:
    """Pools on the training device. Those of one sample size share a batch, in proportion to their shares.

    A pool whose samples are smaller than the crop (single chips of 64 pixels) has batches of its own: as many samples
    more as they are smaller, drawn as often as its share says. Networks meet images of that size, rims included.
    """

    def __init__(
        self, network: str, config: TrainConfig, pools: Path, device: torch.device, made: Mapping[str, Pool]
    ) -> None:
        """`made` holds pools that lie in no folder of `pools`."""
        self.network, self.bands = network, TRAINABLE[network].bands
        if (config.leaves or config.season or config.without_nir) and "nir" not in self.bands:
            raise ConfigError(f"{network} sees no near infrared: leave out `leaves`, `season` and `without_nir`")
        self.tone_curve = not network.startswith("preview")
        self.parts: dict[int, list[tuple[Tensor, Tensor, float]]] = {}
        for name, share in config.shares.items():
            pool = made[name] if name in made else Pool.load(pools / name)
            image = torch.from_numpy(select_images(network, pool)).to(device)
            label = torch.from_numpy(derive_labels(network, pool)).to(device)
            side = min(config.crop, image.shape[-1])
            self.parts.setdefault(side, []).append((image, label, share))
        self._require_classes(network)

    def _require_classes(self, network: str) -> None:
        """Raise ConfigError where no sample shows a class: the network would never say it."""
        given = [label for parts in self.parts.values() for _, label, _ in parts]
        counts: dict[tuple[int, str], int] = {}
        for label in given:
            for head, one in enumerate(iterate_targets(network, label)):
                for name, count in zip(one.names, torch.bincount(one.labels.flatten(), minlength=256), strict=False):
                    counts[head, name] = counts.get((head, name), 0) + int(count)
        missing = [name for (_, name), count in counts.items() if not count]
        if missing:
            raise ConfigError(
                f"no training label is {', '.join(missing)}, so {network} could not learn it: label some, "
                "or add one of the pools to `sources`"
            )

    def draw(self, config: TrainConfig, random: torch.Generator) -> Batch:
        """The samples of one step."""
        plain, label = self._cut(config, random)
        levels = plain.clone()
        if config.leaves:
            brighten_trees(levels[:, self.bands.index("nir")], mask_trees(self.network, label), config.leaves, random)
        if config.season:
            shift_vegetation_nir(levels, self.bands, config.season, random)
        if config.without_nir:
            lost = torch.rand(len(levels), generator=random, device=random.device) < config.without_nir
            levels[lost, self.bands.index("nir")] = 0
        haze = config.haze if self.tone_curve else 0.0
        return Batch(augment_radiometry(levels, self.bands, config.jitter, haze, random), label, plain)

    def _cut(self, config: TrainConfig, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Windows of one size and their labels, turned and mirrored."""
        weights = torch.tensor([sum(share for _, _, share in parts) for parts in self.parts.values()])
        pick = torch.multinomial(weights.to(random.device), 1, generator=random)
        side = list(self.parts)[int(pick)]
        parts = self.parts[side]
        image, label = [], []
        for (source, truth, _), count in zip(parts, _split_batch(parts, config, side), strict=True):
            if count == 0:
                continue
            index = torch.randint(len(source), (count,), generator=random, device=random.device)
            room = source.shape[-1] - side
            y, x = (int(v) for v in torch.randint(room + 1, (2,), generator=random, device=random.device))
            cut = source[index][:, :, y : y + side, x : x + side]
            known = truth[index] if truth.ndim == 1 else truth[index][:, y : y + side, x : x + side]
            moved = augment_geometry(cut, known, random)
            image.append(moved[0])
            label.append(moved[1])
        return torch.cat(image), torch.cat(label)


def _split_batch(parts: list[tuple[Tensor, Tensor, float]], config: TrainConfig, side: int) -> list[int]:
    """Whole numbers of samples, in proportion to the shares, that sum to the batch."""
    batch = config.batch * (config.crop // side) ** 2
    total = sum(share for _, _, share in parts)
    ends = [round(batch * sum(share for _, _, share in parts[: index + 1]) / total) for index in range(len(parts))]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
