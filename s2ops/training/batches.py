"""Batch sampling (data loading) for training: pools of samples in memory, from which each step draws its batch."""

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
    """Batch of training windows with their labels."""

    image: Tensor
    """Augmented levels (n, band, y, x), uint8."""
    label: Tensor
    """Labels (n, y, x), or (n,) for networks that classify whole samples; uint8."""
    plain: Tensor
    """Levels of the same windows before light, foliage and bands were changed."""
    taught: Tensor
    """True for samples whose pool the teacher knows, bool (n,)."""


class _PoolPart(NamedTuple):
    """Samples of one pool on the training device."""

    image: Tensor  # levels (n, band, y, x)
    label: Tensor
    share: float
    taught: bool


class BatchSampler:
    """Sampler that draws batches from pools on the training device.

    Pools of one sample size share a batch, in proportion to their shares. A pool whose samples are smaller than the
    crop (single chips of 64 pixels) has separate batches with more samples, so that the number of pixels stays the
    same; its share decides how often they are drawn. Thus networks also train on images of that size, with their edges.
    """

    def __init__(
        self, network: str, config: TrainConfig, pools: Path, device: torch.device, made: Mapping[str, Pool]
    ) -> None:
        """Load the pools of the configuration.

        Args:
            network: Name of the network.
            config: Training configuration.
            pools: Folder of the pools.
            device: Device that holds the samples.
            made: Pools in memory, by name; they have no subfolder in `pools`.

        Raises:
            ConfigError: If a pool is missing or broken, lacks a band, or if no sample has one of the classes.
        """
        self.network, self.bands = network, TRAINABLE[network].bands
        if (config.leaves or config.season or config.without_nir) and "nir" not in self.bands:
            raise ConfigError(
                f"Cannot train {network}: it has no near-infrared band; remove `leaves`, `season` and `without_nir`."
            )
        self.tone_curve = not network.startswith("preview")
        self.parts: dict[int, list[_PoolPart]] = {}
        for name, share in config.shares.items():
            pool = made[name] if name in made else Pool.load(pools / name)
            image = torch.from_numpy(select_images(network, pool)).to(device)
            label = torch.from_numpy(derive_labels(network, pool)).to(device)
            side = min(config.crop, image.shape[-1])
            self.parts.setdefault(side, []).append(_PoolPart(image, label, share, name not in config.untaught))
        self._require_classes(network)

    def _require_classes(self, network: str) -> None:
        """Raise ConfigError if no sample has one of the classes: the network could never predict it."""
        given = [part.label for parts in self.parts.values() for part in parts]
        counts: dict[tuple[int, str], int] = {}
        for label in given:
            for head, one in enumerate(iterate_targets(network, label)):
                for name, count in zip(one.names, torch.bincount(one.labels.flatten(), minlength=256), strict=False):
                    counts[head, name] = counts.get((head, name), 0) + int(count)
        missing = [name for (_, name), count in counts.items() if not count]
        if missing:
            raise ConfigError(
                f"Cannot train {network}: no training label is {', '.join(missing)}; "
                "label some, or add one of the pools to `sources`."
            )

    def draw(self, config: TrainConfig, random: torch.Generator) -> Batch:
        """Draw the batch of one step; all random numbers come from `random`."""
        plain, label, taught = self._crop_batch(config, random)
        levels = plain.clone()
        if config.leaves:
            brighten_trees(levels[:, self.bands.index("nir")], mask_trees(self.network, label), config.leaves, random)
        if config.season:
            shift_vegetation_nir(levels, self.bands, config.season, random)
        if config.without_nir:
            lost = torch.rand(len(levels), generator=random, device=random.device) < config.without_nir
            levels[lost, self.bands.index("nir")] = 0
        haze = config.haze if self.tone_curve else 0.0
        light = augment_radiometry(levels, self.bands, config.jitter, haze, config.noise, random)
        return Batch(light, label, plain, taught)

    def _crop_batch(self, config: TrainConfig, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Crop random windows of one size with their labels, and apply the random geometry."""
        weights = torch.tensor([sum(part.share for part in parts) for parts in self.parts.values()])
        pick = torch.multinomial(weights.to(random.device), 1, generator=random)
        side = list(self.parts)[int(pick)]
        parts = self.parts[side]
        image, label, taught = [], [], []
        for part, count in zip(parts, _split_batch(parts, config, side), strict=True):
            if count == 0:
                continue
            source, truth = part.image, part.label
            taught += [part.taught] * count
            index = torch.randint(len(source), (count,), generator=random, device=random.device)
            room = source.shape[-1] - side
            y, x = (int(v) for v in torch.randint(room + 1, (2,), generator=random, device=random.device))
            cut = source[index][:, :, y : y + side, x : x + side]
            known = truth[index] if truth.ndim == 1 else truth[index][:, y : y + side, x : x + side]
            moved = augment_geometry(cut, known, random)
            image.append(moved[0])
            label.append(moved[1])
        return torch.cat(image), torch.cat(label), torch.tensor(taught, device=image[0].device)


def _split_batch(parts: list[_PoolPart], config: TrainConfig, side: int) -> list[int]:
    """Split the batch into numbers of samples per pool, in proportion to the shares."""
    batch = config.batch * (config.crop // side) ** 2
    total = sum(part.share for part in parts)
    ends = [round(batch * sum(part.share for part in parts[: index + 1]) / total) for index in range(len(parts))]
    return [end - start for start, end in zip([0, *ends[:-1]], ends, strict=True)]
