"""Make the pools: simulated samples, simulated skies over real ground, and labelled real scenes."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from s2ops.constants import Bool, LandCover, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve, build_reflectance_table
from s2ops.simulate.training_patches import overlay, patch, preview
from s2ops.training.datasets.packed_scenes import CHIP_REFLECTANCE_PER_LEVEL, RAYLEIGH_REFLECTANCE, PackedData
from s2ops.training.datasets.pools import Pool, Sample
from s2ops.training.datasets.vegetation_labels import MAX_FOLIAGE_LEVELS

SAMPLE_SIZE_PX: Final = 256
"""Side of the samples, pixels."""

RESOLUTIONS_M: Final = (10, 10, 10, 20, 20, 60, 60, 120, 120)
"""Of the samples in turn: detail matters at 10 m, and there the world differs most."""

POOL_KINDS: Final = ("simulated", "preview", "overlaid", "real", "chips")
"""What `make_pools` makes."""

FIRST_VALIDATION_SEED: Final = 50_000_000
"""Seeds from here on are for validation."""

CHIP_SIZE_PX: Final = 64
CHIP_RIM_PX: Final = 6
"""Pixels at a chip's edge that do not count: what lies beyond is another place."""


def simulate_sample(seed: int) -> Sample:
    """One sample of the simulated world."""
    made = patch(seed, SAMPLE_SIZE_PX, RESOLUTIONS_M[seed % len(RESOLUTIONS_M)])
    rng = np.random.default_rng([seed, 19])
    if rng.random() < 0.5:
        _brighten_trees(made.image[3], (made.classes == LandCover.TREE) & (made.mask == 0), rng)
    return made.image, made.classes, made.mask


def _brighten_trees(nir: UInt8, trees: Bool, rng: np.random.Generator) -> None:
    """Make the trees of (y, x) near-infrared levels as bright as beech and oak in June, in place.

    The simulated world ends at a reflectance of 0.33, where real woods reach 0.5 and meadows hardly more.
    """
    brighter = nir[trees].astype(np.float32) + rng.uniform(0, MAX_FOLIAGE_LEVELS)
    nir[trees] = np.minimum(np.rint(brighter), 255).astype(np.uint8)


def simulate_preview(seed: int) -> Sample:
    """One preview of a simulated tile, 352 pixels; cover 1 where it is hazy."""
    image, mask, haze = preview(seed, 352)
    return image, np.full(mask.shape, round(haze), np.uint8), mask


@dataclass(frozen=True)
class SkyOverlay:
    """Simulated skies over real clear scenes: cut, shrunk, turned at random."""

    scenes: tuple[UInt8, ...]

    def __call__(self, seed: int) -> Sample:
        """One sample; cover is unknown."""
        rng = np.random.default_rng([seed, 7])
        areas = np.sqrt([float(scene[0].size) for scene in self.scenes])
        levels = self.scenes[rng.choice(len(areas), p=areas / areas.sum())]
        levels = downsample(levels, int(rng.choice((1, 1, 2, 4))), rng)
        levels = rotate_or_flip(crop_random(levels, rng), int(rng.integers(8)))
        ground = np.nan_to_num(build_reflectance_table())[levels] * rng.normal(1, 0.08)
        # the ground's own resolution is left behind: heaps and streaks of every size over every texture
        res = int(rng.choice((10, 20, 60, 120)))
        image, mask, _ = overlay(ground.astype(np.float32), res, seed)
        out = np.rint(apply_tone_curve(image)).astype(np.uint8)
        out[:, mask == 255] = 0
        return out, np.zeros(mask.shape, np.uint8), mask


def downsample(levels: UInt8, factor: int, rng: np.random.Generator, least: int = 64) -> UInt8:
    """Coarser by an integer factor: block means or, now and then, every n-th pixel; labels always the latter.

    An image that would be smaller than `least` pixels stays as it is.
    """
    if factor == 1 or min(levels.shape[-2:]) < least * factor:
        return levels
    height, width = (side // factor * factor for side in levels.shape[-2:])
    trimmed = levels[..., :height, :width]
    if levels.ndim == 2 or rng.random() < 0.3:
        return trimmed[..., ::factor, ::factor]
    blocks = trimmed.reshape(len(levels), height // factor, factor, width // factor, factor)
    mean: UInt8 = np.rint(blocks.mean(axis=(2, 4))).astype(np.uint8)
    mean[:, (blocks == 0).any(axis=(0, 2, 4))] = 0
    return mean


def crop_random(stack: UInt8, rng: np.random.Generator) -> UInt8:
    """A random SIZE x SIZE window of (layer, y, x); a smaller image is continued by reflection."""
    short = [max(SAMPLE_SIZE_PX - side, 0) for side in stack.shape[1:]]
    if any(short):
        stack = np.pad(stack, ((0, 0), (0, short[0]), (0, short[1])), mode="reflect")
    y, x = (int(rng.integers(side - SAMPLE_SIZE_PX + 1)) for side in stack.shape[1:])
    out: UInt8 = stack[:, y : y + SAMPLE_SIZE_PX, x : x + SAMPLE_SIZE_PX]
    return out


def rotate_or_flip(stack: UInt8, way: int) -> UInt8:
    """One of the eight symmetries of the square."""
    quarter = np.rot90(stack, way % 4, axes=(-2, -1))
    out: UInt8 = np.ascontiguousarray(quarter[..., ::-1] if way >= 4 else quarter)
    return out


def crop_labelled_scenes(packed: PackedData, place: str, repeat: int) -> Iterator[Sample]:
    """Windows of the labelled real scenes of a place, at one, two and four times their pixel size."""
    rng = np.random.default_rng(11)
    for scene in packed.scenes:
        if scene.place != place:
            continue
        for factor in (1, 2, 4):
            layers = [downsample(layer, factor, rng) for layer in (scene.levels, scene.cover, scene.mask)]
            small = np.concatenate([layers[0], layers[1][None], layers[2][None]])
            for _ in range(repeat * max(1, round(small[0].size / SAMPLE_SIZE_PX**2))):
                window = crop_random(small, rng)
                yield window[:4], window[4], window[5]


def build_chip_mosaics(levels: UInt8, cover: UInt8, count: int, seed: int) -> Iterator[Sample]:
    """Samples of EuroSAT chips side by side, (n, band, 64, 64) with cover (n, 64, 64); a missing nir stays 0.

    Every other sample has the chips at half size, as 20 m pixels show them. Two of five show one chip alone, continued
    by reflection: among others a network can learn a chip by its rims, which no town has.
    """
    rng = np.random.default_rng([seed, 13])
    for index in range(count):
        factor = 1 + index % 2
        if index % 5 >= 3:
            yield _build_single_chip_sample(levels, cover, factor, rng)
            continue
        chip, rim = CHIP_SIZE_PX // factor, CHIP_RIM_PX // factor
        inner = np.zeros((chip, chip), np.uint8)
        inner[rim:-rim, rim:-rim] = 1
        image, land = (
            np.zeros((4, SAMPLE_SIZE_PX, SAMPLE_SIZE_PX), np.uint8),
            np.zeros((SAMPLE_SIZE_PX, SAMPLE_SIZE_PX), np.uint8),
        )
        for y in range(0, SAMPLE_SIZE_PX, chip):
            for x in range(0, SAMPLE_SIZE_PX, chip):
                pick = int(rng.integers(len(levels)))
                image[: levels.shape[1], y : y + chip, x : x + chip] = downsample(levels[pick], factor, rng, least=0)
                land[y : y + chip, x : x + chip] = cover[pick, ::factor, ::factor] * inner
        yield image, land, np.zeros(land.shape, np.uint8)


def _build_single_chip_sample(levels: UInt8, cover: UInt8, factor: int, rng: np.random.Generator) -> Sample:
    """One chip that fills the sample, mirrored at its rims."""
    pick = int(rng.integers(len(levels)))
    stack = np.zeros((5, CHIP_SIZE_PX // factor, CHIP_SIZE_PX // factor), np.uint8)
    stack[: levels.shape[1]] = downsample(levels[pick], factor, rng, least=0)
    stack[4] = cover[pick, ::factor, ::factor]
    whole = crop_random(
        np.pad(stack, ((0, 0), (SAMPLE_SIZE_PX, SAMPLE_SIZE_PX), (SAMPLE_SIZE_PX, SAMPLE_SIZE_PX)), mode="reflect"), rng
    )
    return whole[:4], whole[4], np.zeros(whole.shape[1:], np.uint8)


def build_pool(job: Callable[[int], Sample], seeds: range, processes: int) -> Pool:
    """Run `job` for each seed in processes of their own; the order is that of the seeds."""
    if processes == 1:
        return Pool.of(map(job, seeds))
    with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as executor:
        return Pool.of(executor.map(job, seeds, chunksize=8))


def build_single_chips(levels: UInt8, cover: UInt8, *, plain: bool, seed: int) -> Iterator[Sample]:
    """Each EuroSAT chip as it is: what a network answers for 64 x 64 pixels and nothing around them.

    With `plain`, one in four keeps its linear 8 bits, as whoever feeds the JPEG without conversion will see it.
    """
    rng = np.random.default_rng([seed, 17])
    for chip, land in zip(levels, cover, strict=True):
        image = np.zeros((4, CHIP_SIZE_PX, CHIP_SIZE_PX), np.uint8)
        image[: len(chip)] = restore_linear_levels(chip) if plain and rng.random() < 0.25 else chip
        yield image, land, np.zeros(land.shape, np.uint8)


def restore_linear_levels(levels: UInt8) -> UInt8:
    """(3, y, x) levels of a EuroSAT RGB chip -> the chip's own 8 bits."""
    air = np.array(RAYLEIGH_REFLECTANCE[:3], np.float32)[:, None, None]
    own = (np.nan_to_num(build_reflectance_table())[levels] + air) / np.float32(CHIP_REFLECTANCE_PER_LEVEL)
    out: UInt8 = np.clip(np.rint(own), 1, 255).astype(np.uint8)
    return out


def make_pools(out: Path, packed: PackedData, patches: int, processes: int, kinds: Collection[str]) -> None:
    """Write the pools of the wanted `kinds` below `out`; `patches` simulated ones, the others in proportion."""
    held = range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + max(patches // 20, 8))
    backgrounds = [scene.levels for scene in packed.scenes if scene.clear]
    backgrounds += [chip for chips in packed.chips.values() for chip in chips.levels if len(chip) == 4][::3]
    ground = SkyOverlay(tuple(backgrounds))
    jobs: dict[str, tuple[Callable[[int], Sample], int]] = {
        "simulated": (simulate_sample, patches),
        "preview": (simulate_preview, patches // 3),
        "overlaid": (ground, patches // 2),
    }
    for kind, (job, count) in jobs.items():
        if kind in kinds:
            build_pool(job, range(count), processes).save(out / kind)
            build_pool(job, held, processes).save(out / f"{kind}-val")
    if "real" in kinds:
        _write_real_pools(out, packed)
    if "chips" in kinds:
        _write_chip_pools(out, packed, patches)


def _write_real_pools(out: Path, packed: PackedData) -> None:
    """clouds-PLACE and cover-PLACE for each place that has such labels; a configuration chooses whom to hold out."""
    for place in sorted({scene.place for scene in packed.scenes}):
        for kind, fit in (("clouds", _select_cloud_samples), ("cover", _select_cover_samples)):
            samples = list(fit(crop_labelled_scenes(packed, place, 4)))
            if samples:
                Pool.of(samples).save(out / f"{kind}-{place}")


def _write_chip_pools(out: Path, packed: PackedData, patches: int) -> None:
    """Mosaics and single chips; every fifth chip is for validation."""
    for name, chips in packed.chips.items():
        held = np.arange(len(chips.levels)) % 5 == 0  # labels lie in runs, so every class is held out
        for part, chosen in (("", ~held), ("-val", held)):
            count = max(patches // (6 if part == "" else 60), 4)
            levels, cover = chips.levels[chosen], chips.cover[chosen]
            Pool.of(build_chip_mosaics(levels, cover, count, len(part))).save(out / f"{name}{part}")
            plain = name == "chips-rgb" and part == ""
            Pool.of(build_single_chips(levels, cover, plain=plain, seed=len(part))).save(out / f"{name}-single{part}")


def _select_cloud_samples(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Those with at least 2 % of known mask."""
    return (sample for sample in samples if (sample[2] != 255).mean() > 0.02)


def _select_cover_samples(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Those with at least 5 % of known land cover; where it is known, the ground was seen, be it through a veil."""
    for image, cover, mask in samples:
        if (cover != LandCover.NODATA).mean() > 0.05:
            yield image, cover, np.where(cover != LandCover.NODATA, 0, mask).astype(np.uint8)
