"""Data augmentation: random rotation, flips, scale, brightness, haze, noise, and near infrared of vegetation.

Geometry uses torchvision (transforms v2), with one draw for the samples of a pool in a batch. Haze acts on reflectance,
so the tone curve is inverted and applied again. Every random number comes from the generator of the step.
"""

from functools import cache
from typing import Final

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from s2ops.constants import BANDS
from s2ops.imaging.tone_curve import LEVELS_PER_LOG, TOE, TOP
from s2ops.simulate.atmosphere import HAZE_SPECTRUM
from s2ops.training.datasets.vegetation_labels import MAX_FOLIAGE_LEVELS, brighten_foliage

MIN_ZOOM_AREA: Final = 0.6
"""Minimum fraction of a sample's area that an enlarged sample shows."""

ZOOM_PROBABILITY: Final = 0.25
"""Probability that the samples of a pool in a batch are enlarged."""

HAZE_PROBABILITY: Final = 0.5
"""Probability that a sample gets haze, if the configuration has haze."""

FULL_VEGETATION_LEVELS: Final = 60.0
"""Difference of near infrared and red of ground fully covered with plants, levels."""


@cache
def _build_geometry(crop: int) -> v2.Compose:
    """Build the random geometry of windows of `crop` pixels: enlargement, quarter turns, horizontal flip."""
    turns = [v2.RandomRotation((angle, angle)) for angle in (0, 90, 180, 270)]
    larger = v2.RandomResizedCrop(crop, scale=(MIN_ZOOM_AREA, 1.0), ratio=(0.9, 1.1), antialias=True)
    return v2.Compose([v2.RandomApply([larger], ZOOM_PROBABILITY), v2.RandomChoice(turns), v2.RandomHorizontalFlip()])


def augment_geometry(image: Tensor, label: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rotate, flip and sometimes enlarge samples together with their labels.

    Args:
        image: Levels (n, band, y, x).
        label: Labels (n, y, x), or labels (n,) of whole samples, which stay as they are.
        random: Generator of the step.

    Returns:
        Levels and labels of the same shapes.
    """
    seed = int(torch.randint(1 << 62, (1,), generator=random, device=random.device))
    with torch.random.fork_rng(devices=[]):  # torchvision uses the global generator of the CPU
        torch.manual_seed(seed)
        geometry = _build_geometry(image.shape[-1])
        if label.ndim == 1:
            return geometry(tv_tensors.Image(image)).as_subclass(Tensor), label
        moved, mask = geometry(tv_tensors.Image(image), tv_tensors.Mask(label))
    return moved.as_subclass(Tensor), mask.as_subclass(Tensor)


def brighten_trees(nir: Tensor, trees: Tensor, part: float, random: torch.Generator) -> None:
    """Brighten trees in near infrared in a fraction of the samples, in place; no data stays 0.

    Woods of beech and oak are as bright as meadows in June and half as bright in autumn. The network has to recognise
    them by texture, and by low levels of green and red.

    Args:
        nir: Levels of near infrared (n, y, x), uint8; changed in place.
        trees: Where trees are labelled, bool (n, y, x).
        part: Fraction of the samples that is brightened.
        random: Generator of the step.
    """
    chosen = torch.rand((len(nir), 1, 1), generator=random, device=random.device) < part
    brighter = MAX_FOLIAGE_LEVELS * torch.rand((len(nir), 1, 1), generator=random, device=random.device)
    nir.copy_(brighten_foliage(nir.float(), brighter * (chosen & trees & (nir > 0))).to(nir.dtype))


def shift_vegetation_nir(levels: Tensor, bands: tuple[str, ...], spread: float, random: torch.Generator) -> None:
    """Shift near infrared of green ground by one random value per sample, in place; no data stays 0.

    Meadows and woods of one place are both brighter in June than in April, and brighter in Devon than in Catalonia. The
    network has to separate them by texture and by their order of brightness. Water and roofs do not change.

    Args:
        levels: Levels (n, band, y, x), uint8; changed in place.
        bands: Names of the bands.
        spread: Standard deviation of the shift where ground is fully green, levels.
        random: Generator of the step.
    """
    near, red = (levels[:, bands.index(name)].float() for name in ("nir", "red"))
    green = torch.clamp((near - red) / FULL_VEGETATION_LEVELS, 0, 1)
    moved = near + spread * torch.randn((len(levels), 1, 1), generator=random, device=random.device) * green
    levels[:, bands.index("nir")] = torch.where(near == 0, 0, torch.clamp(torch.round(moved), 1, 255)).to(levels.dtype)


def augment_radiometry(
    levels: Tensor,
    bands: tuple[str, ...],
    jitter: tuple[float, float, float],
    haze: float,
    noise: float,
    random: torch.Generator,
) -> Tensor:
    """Change brightness, haze and noise of the samples; no data stays 0.

    Half of the samples get haze, thin far more often than thick, with the colour of haze in the simulated world.

    Args:
        levels: Levels of the tone curve (n, band, y, x), uint8.
        bands: Names of the bands.
        jitter: Standard deviations of the random shift of a sample, a band and a pixel, levels.
        haze: Maximum path reflectance in blue; 0 adds no haze.
        noise: Maximum standard deviation of noise in reflectance; 0 adds none. It is weak far more often than strong,
            and half of it is alike in all bands, as waves are.
        random: Generator of the step.

    Returns:
        New levels, same shape, uint8.
    """

    def draw_uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random, device=random.device)

    def draw_normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device=random.device)

    count, channels, height, width = levels.shape
    scene, band, pixel = jitter
    moved = levels + scene * draw_normal(count, 1, 1, 1) + band * draw_normal(count, channels, 1, 1)
    if noise > 0:
        sigma = noise * draw_uniform(count, 1, 1, 1) ** 3
        rough = 0.7 * (draw_normal(count, channels, height, width) + draw_normal(count, 1, height, width))
        ground = TOE * torch.expm1((moved - 1) / float(LEVELS_PER_LOG)) + sigma * rough
        moved = 1 + float(LEVELS_PER_LOG) * torch.log1p(torch.clamp(ground, 0, TOP) / TOE)
    if haze > 0:
        colour = torch.tensor([float(HAZE_SPECTRUM[BANDS.index(name)]) for name in bands], device=levels.device)
        thick = haze * draw_uniform(count, 1, 1, 1) ** 2 * (draw_uniform(count, 1, 1, 1) < HAZE_PROBABILITY)
        path = thick * colour[None, :, None, None] ** (0.5 + draw_uniform(count, 1, 1, 1))
        ground = TOE * torch.expm1((moved - 1) / float(LEVELS_PER_LOG))
        seen = torch.clamp(ground * (1 - 1.6 * path) + path, 0, TOP)
        moved = 1 + float(LEVELS_PER_LOG) * torch.log1p(seen / TOE)
    moved = moved + pixel * draw_normal(count, channels, height, width)
    return torch.where(levels == 0, 0, torch.clamp(torch.round(moved), 1, 255)).to(torch.uint8)
