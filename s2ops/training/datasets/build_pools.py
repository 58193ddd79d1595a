"""Make the pools: simulated samples, simulated skies over real ground, and labelled real scenes."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from s2ops.constants import Bool, LandCover, UInt8
from s2ops.imaging.tone_curve import levels_of, reflectance_table
from s2ops.simulate.training_patches import overlay, patch, preview
from s2ops.training.datasets.packed_scenes import CHIP_SCALE, RAYLEIGH, Packed
from s2ops.training.datasets.pools import Pool, Sample
from s2ops.training.datasets.vegetation_labels import LEAVES

SIZE: Final = 256
"""Side of the samples, pixels."""

RESOLUTIONS: Final = (10, 10, 10, 20, 20, 60, 60, 120, 120)
"""Of the samples in turn: detail matters at 10 m, and there the world differs most."""

KINDS: Final = ("simulated", "preview", "overlaid", "real", "chips")
"""What `make_pools` makes."""

HELD_OUT: Final = 50_000_000
"""Seeds from here on are for validation."""

CHIP: Final = 64
CHIP_RIM: Final = 6
"""Pixels at a chip's edge that do not count: what lies beyond is another place."""


def simulated(seed: int) -> Sample:
    """One sample of the simulated world."""
    made = patch(seed, SIZE, RESOLUTIONS[seed % len(RESOLUTIONS)])
    rng = np.random.default_rng([seed, 19])
    if rng.random() < 0.5:
        _leaf_out(made.image[3], (made.classes == LandCover.TREE) & (made.mask == 0), rng)
    return made.image, made.classes, made.mask


def _leaf_out(nir: UInt8, trees: Bool, rng: np.random.Generator) -> None:
    """Make the trees of (y, x) near-infrared levels as bright as beech and oak in June, in place.

    The simulated world ends at a reflectance of 0.33, where real woods reach 0.5 and meadows hardly more.
    """
    brighter = nir[trees].astype(np.float32) + rng.uniform(0, LEAVES)
    nir[trees] = np.minimum(np.rint(brighter), 255).astype(np.uint8)


def simulated_preview(seed: int) -> Sample:
    """One preview of a simulated tile, 352 pixels; cover 1 where it is hazy."""
    image, mask, haze = preview(seed, 352)
    return image, np.full(mask.shape, round(haze), np.uint8), mask


@dataclass(frozen=True)
class Overlaid:
    """Simulated skies over real clear scenes: cut, shrunk, turned at random."""

    scenes: tuple[UInt8, ...]

    def __call__(self, seed: int) -> Sample:
        """One sample; cover is unknown."""
        rng = np.random.default_rng([seed, 7])
        areas = np.sqrt([float(scene[0].size) for scene in self.scenes])
        levels = self.scenes[rng.choice(len(areas), p=areas / areas.sum())]
        levels = shrunk(levels, int(rng.choice((1, 1, 2, 4))), rng)
        levels = turned(cut(levels, rng), int(rng.integers(8)))
        ground = np.nan_to_num(reflectance_table())[levels] * rng.normal(1, 0.08)
        # the ground's own resolution is left behind: heaps and streaks of every size over every texture
        res = int(rng.choice((10, 20, 60, 120)))
        image, mask, _ = overlay(ground.astype(np.float32), res, seed)
        out = np.rint(levels_of(image)).astype(np.uint8)
        out[:, mask == 255] = 0
        return out, np.zeros(mask.shape, np.uint8), mask


def shrunk(levels: UInt8, factor: int, rng: np.random.Generator, least: int = 64) -> UInt8:
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


def cut(stack: UInt8, rng: np.random.Generator) -> UInt8:
    """A random SIZE x SIZE window of (layer, y, x); a smaller image is continued by reflection."""
    short = [max(SIZE - side, 0) for side in stack.shape[1:]]
    if any(short):
        stack = np.pad(stack, ((0, 0), (0, short[0]), (0, short[1])), mode="reflect")
    y, x = (int(rng.integers(side - SIZE + 1)) for side in stack.shape[1:])
    out: UInt8 = stack[:, y : y + SIZE, x : x + SIZE]
    return out


def turned(stack: UInt8, way: int) -> UInt8:
    """One of the eight symmetries of the square."""
    quarter = np.rot90(stack, way % 4, axes=(-2, -1))
    out: UInt8 = np.ascontiguousarray(quarter[..., ::-1] if way >= 4 else quarter)
    return out


def labelled(packed: Packed, place: str, repeat: int) -> Iterator[Sample]:
    """Windows of the labelled real scenes of a place, at one, two and four times their pixel size."""
    rng = np.random.default_rng(11)
    for scene in packed.scenes:
        if scene.place != place:
            continue
        for factor in (1, 2, 4):
            layers = [shrunk(layer, factor, rng) for layer in (scene.levels, scene.cover, scene.mask)]
            small = np.concatenate([layers[0], layers[1][None], layers[2][None]])
            for _ in range(repeat * max(1, round(small[0].size / SIZE**2))):
                window = cut(small, rng)
                yield window[:4], window[4], window[5]


def chip_mosaics(levels: UInt8, cover: UInt8, count: int, seed: int) -> Iterator[Sample]:
    """Samples of EuroSAT chips side by side, (n, band, 64, 64) with cover (n, 64, 64); a missing nir stays 0.

    Every other sample has the chips at half size, as 20 m pixels show them. Two of five show one chip alone, continued
    by reflection: among others a network can learn a chip by its rims, which no town has.
    """
    rng = np.random.default_rng([seed, 13])
    for index in range(count):
        factor = 1 + index % 2
        if index % 5 >= 3:
            yield _lone_chip(levels, cover, factor, rng)
            continue
        chip, rim = CHIP // factor, CHIP_RIM // factor
        inner = np.zeros((chip, chip), np.uint8)
        inner[rim:-rim, rim:-rim] = 1
        image, land = np.zeros((4, SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
        for y in range(0, SIZE, chip):
            for x in range(0, SIZE, chip):
                pick = int(rng.integers(len(levels)))
                image[: levels.shape[1], y : y + chip, x : x + chip] = shrunk(levels[pick], factor, rng, least=0)
                land[y : y + chip, x : x + chip] = cover[pick, ::factor, ::factor] * inner
        yield image, land, np.zeros(land.shape, np.uint8)


def _lone_chip(levels: UInt8, cover: UInt8, factor: int, rng: np.random.Generator) -> Sample:
    """One chip that fills the sample, mirrored at its rims."""
    pick = int(rng.integers(len(levels)))
    stack = np.zeros((5, CHIP // factor, CHIP // factor), np.uint8)
    stack[: levels.shape[1]] = shrunk(levels[pick], factor, rng, least=0)
    stack[4] = cover[pick, ::factor, ::factor]
    whole = cut(np.pad(stack, ((0, 0), (SIZE, SIZE), (SIZE, SIZE)), mode="reflect"), rng)
    return whole[:4], whole[4], np.zeros(whole.shape[1:], np.uint8)


def in_parallel(job: Callable[[int], Sample], seeds: range, processes: int) -> Pool:
    """Run `job` for each seed in processes of their own; the order is that of the seeds."""
    if processes == 1:
        return Pool.of(map(job, seeds))
    with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as executor:
        return Pool.of(executor.map(job, seeds, chunksize=8))


def single_chips(levels: UInt8, cover: UInt8, *, plain: bool, seed: int) -> Iterator[Sample]:
    """Each EuroSAT chip as it is: what a network answers for 64 x 64 pixels and nothing around them.

    With `plain`, one in four keeps its linear 8 bits, as whoever feeds the JPEG without conversion will see it.
    """
    rng = np.random.default_rng([seed, 17])
    for chip, land in zip(levels, cover, strict=True):
        image = np.zeros((4, CHIP, CHIP), np.uint8)
        image[: len(chip)] = linear(chip) if plain and rng.random() < 0.25 else chip
        yield image, land, np.zeros(land.shape, np.uint8)


def linear(levels: UInt8) -> UInt8:
    """(3, y, x) levels of a EuroSAT RGB chip -> the chip's own 8 bits."""
    air = np.array(RAYLEIGH[:3], np.float32)[:, None, None]
    own = (np.nan_to_num(reflectance_table())[levels] + air) / np.float32(CHIP_SCALE)
    out: UInt8 = np.clip(np.rint(own), 1, 255).astype(np.uint8)
    return out


def make_pools(out: Path, packed: Packed, patches: int, processes: int, kinds: Collection[str]) -> None:
    """Write the pools of the wanted `kinds` below `out`; `patches` simulated ones, the others in proportion."""
    held = range(HELD_OUT, HELD_OUT + max(patches // 20, 8))
    backgrounds = [scene.levels for scene in packed.scenes if scene.clear]
    backgrounds += [chip for chips in packed.chips.values() for chip in chips.levels if len(chip) == 4][::3]
    ground = Overlaid(tuple(backgrounds))
    jobs: dict[str, tuple[Callable[[int], Sample], int]] = {
        "simulated": (simulated, patches),
        "preview": (simulated_preview, patches // 3),
        "overlaid": (ground, patches // 2),
    }
    for kind, (job, count) in jobs.items():
        if kind in kinds:
            in_parallel(job, range(count), processes).save(out / kind)
            in_parallel(job, held, processes).save(out / f"{kind}-val")
    if "real" in kinds:
        _real_pools(out, packed)
    if "chips" in kinds:
        _chip_pools(out, packed, patches)


def _real_pools(out: Path, packed: Packed) -> None:
    """clouds-PLACE and cover-PLACE for each place that has such labels; a configuration chooses whom to hold out."""
    for place in sorted({scene.place for scene in packed.scenes}):
        for kind, fit in (("clouds", _cloud_only), ("cover", _with_cover)):
            samples = list(fit(labelled(packed, place, 4)))
            if samples:
                Pool.of(samples).save(out / f"{kind}-{place}")


def _chip_pools(out: Path, packed: Packed, patches: int) -> None:
    """Mosaics and single chips; every fifth chip is for validation."""
    for name, chips in packed.chips.items():
        held = np.arange(len(chips.levels)) % 5 == 0  # labels lie in runs, so every class is held out
        for part, chosen in (("", ~held), ("-val", held)):
            count = max(patches // (6 if part == "" else 60), 4)
            levels, cover = chips.levels[chosen], chips.cover[chosen]
            Pool.of(chip_mosaics(levels, cover, count, len(part))).save(out / f"{name}{part}")
            plain = name == "chips-rgb" and part == ""
            Pool.of(single_chips(levels, cover, plain=plain, seed=len(part))).save(out / f"{name}-single{part}")


def _cloud_only(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Those with at least 2 % of known mask."""
    return (sample for sample in samples if (sample[2] != 255).mean() > 0.02)


def _with_cover(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Those with at least 5 % of known land cover; where it is known, the ground was seen, be it through a veil."""
    for image, cover, mask in samples:
        if (cover != LandCover.NODATA).mean() > 0.05:
            yield image, cover, np.where(cover != LandCover.NODATA, 0, mask).astype(np.uint8)
