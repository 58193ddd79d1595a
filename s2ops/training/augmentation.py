"""What a network must not mind: another side up, another scale, other light, haze, noise.

Geometry is torchvision's (transforms v2), drawn once for the samples of a pool in a batch. Light and haze are those of
Sentinel-2 and act on reflectance: the tone curve is undone and done again. Every draw comes from the step's generator.
"""

from functools import cache
from typing import Final

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from s2ops.constants import BANDS
from s2ops.imaging.tone_curve import LEVELS_PER_LOG, TOE, TOP
from s2ops.simulate.atmosphere import HAZE_COLOUR
from s2ops.training.datasets.vegetation_labels import MAX_FOLIAGE_LEVELS

MIN_ZOOM_AREA: Final = 0.6
"""Part of a sample's area that an enlarged one shows."""

ZOOM_PROBABILITY: Final = 0.25
"""Probability that the samples of a pool are enlarged."""

HAZE_PROBABILITY: Final = 0.5
"""Part of the samples with haze, where any is asked for."""

FULL_VEGETATION_LEVELS: Final = 60.0
"""Levels by which near infrared is above red where ground is green all over."""


@cache
def _build_geometry(crop: int) -> v2.Compose:
    turns = [v2.RandomRotation((angle, angle)) for angle in (0, 90, 180, 270)]
    larger = v2.RandomResizedCrop(crop, scale=(MIN_ZOOM_AREA, 1.0), ratio=(0.9, 1.1), antialias=True)
    return v2.Compose([v2.RandomApply([larger], ZOOM_PROBABILITY), v2.RandomChoice(turns), v2.RandomHorizontalFlip()])


def augment_geometry(image: Tensor, label: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """(n, band, y, x) levels and (n, y, x) labels, or (n,) labels that stay: turned, mirrored, at times enlarged."""
    seed = int(torch.randint(1 << 62, (1,), generator=random, device=random.device))
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the global generator of the CPU
        torch.manual_seed(seed)
        geometry = _build_geometry(image.shape[-1])
        if label.ndim == 1:
            return geometry(tv_tensors.Image(image)).as_subclass(Tensor), label
        moved, mask = geometry(tv_tensors.Image(image), tv_tensors.Mask(label))
    return moved.as_subclass(Tensor), mask.as_subclass(Tensor)


def brighten_trees(nir: Tensor, trees: Tensor, part: float, random: torch.Generator) -> None:
    """Make the trees of (n, y, x) near-infrared levels brighter, in place, in `part` of the samples; no data stays 0.

    Woods of beech and oak in June are as bright as meadows, and half as bright in autumn: what is asked for then is
    their texture, and how dark they are in green and red.
    """
    chosen = torch.rand((len(nir), 1, 1), generator=random, device=random.device) < part
    brighter = MAX_FOLIAGE_LEVELS * torch.rand((len(nir), 1, 1), generator=random, device=random.device)
    moved = torch.clamp(nir + brighter * (chosen & trees & (nir > 0)), max=255)
    nir.copy_(torch.round(moved).to(nir.dtype))


def shift_vegetation_nir(levels: Tensor, bands: tuple[str, ...], spread: float, random: torch.Generator) -> None:
    """Shift near infrared of what is green in (n, band, y, x) levels, in place, by one draw a sample; no data stays 0.

    Meadows and woods of one place are both brighter in June than in April, and in Devon than in Catalonia. What is left
    to tell them apart is which of the two is brighter there, and texture. Water and roofs do not move.
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
    random: torch.Generator,
) -> Tensor:
    """(n, band, y, x) uint8 levels of the tone curve -> the same ground in other light; no data stays 0.

    Half of the samples get haze: path reflectance up to `haze` in blue, its colour as in the simulated world,
    thin far more often than thick. `jitter` shifts the levels of a sample, a band and a pixel.
    """

    def draw(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random, device=random.device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device=random.device)

    count, channels, height, width = levels.shape
    scene, band, pixel = jitter
    moved = levels + scene * normal(count, 1, 1, 1) + band * normal(count, channels, 1, 1)
    if haze > 0:
        colour = torch.tensor([float(HAZE_COLOUR[BANDS.index(name)]) for name in bands], device=levels.device)
        thick = haze * draw(count, 1, 1, 1) ** 2 * (draw(count, 1, 1, 1) < HAZE_PROBABILITY)
        path = thick * colour[None, :, None, None] ** (0.5 + draw(count, 1, 1, 1))
        ground = TOE * torch.expm1((moved - 1) / float(LEVELS_PER_LOG))
        seen = torch.clamp(ground * (1 - 1.6 * path) + path, 0, TOP)
        moved = 1 + float(LEVELS_PER_LOG) * torch.log1p(seen / TOE)
    moved = moved + pixel * normal(count, channels, height, width)
    return torch.where(levels == 0, 0, torch.clamp(torch.round(moved), 1, 255)).to(torch.uint8)
