"""Making of training pools: simulated samples, simulated skies over real ground, labelled scenes, EuroSAT chips."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np

from s2ops.constants import Bool, Float64, LandCover, UInt8
from s2ops.imaging.tone_curve import apply_tone_curve, build_reflectance_table
from s2ops.simulate.ground_types import GroundType
from s2ops.simulate.training_patches import overlay_sky, simulate_patch, simulate_preview
from s2ops.training.datasets.biomes import BiomeSampler, relabel_by_greenness
from s2ops.training.datasets.packed_scenes import (
    CHIP_REFLECTANCE_PER_LEVEL,
    RAYLEIGH_REFLECTANCE,
    ChipSet,
    PackedData,
)
from s2ops.training.datasets.pools import BUILT, Pool, Sample
from s2ops.training.datasets.recolour import Recolourer
from s2ops.training.datasets.spectral_library import SpectralLibrary
from s2ops.training.datasets.vegetation_labels import MAX_FOLIAGE_LEVELS, brighten_foliage
from s2ops.training.datasets.water_samples import WaterSimulator

SAMPLE_SIZE_PX: Final = 256
"""Side of the samples in pixels."""

RESOLUTIONS_M: Final = (10, 10, 10, 20, 20, 60, 60, 120, 120)
"""Pixel sizes of successive simulated samples, metres; 10 m is frequent, since ground varies most there."""

POOL_KINDS: Final = ("simulated", "preview", "overlaid", "real", "chips", "biomes", "open-water", "recoloured")
"""Kinds of pools that `make_pools` makes."""

CHIP_MOSAICS: Final = 120
"""Number of mosaics of chips that are recoloured."""

CHIP_SHARE: Final = 0.4
"""Fraction of the recoloured samples that come from mosaics of chips instead of scenes."""

FIRST_VALIDATION_SEED: Final = 50_000_000
"""First seed of the validation samples."""

CHIP_SIZE_PX: Final = 64
"""Side of a EuroSAT chip in pixels."""

CHIP_RIM_PX: Final = 6
"""Width of a chip's unlabelled edge in mosaics, pixels: the neighbouring chip is another place."""


def simulate_sample(seed: int) -> Sample:
    """Simulate one sample: levels, land cover and cloud mask."""
    made = simulate_patch(seed, SAMPLE_SIZE_PX, RESOLUTIONS_M[seed % len(RESOLUTIONS_M)])
    rng = np.random.default_rng([seed, 19])
    if rng.random() < 0.5:
        _brighten_trees(made.image[3], (made.classes == LandCover.TREE) & (made.mask == 0), rng)
    return made.image, made.classes, made.mask


def _brighten_trees(nir: UInt8, trees: Bool, rng: np.random.Generator) -> None:
    """Brighten trees (y, x) in near infrared (y, x), in place, up to the brightness of beech and oak in June.

    Trees of the simulated world have a reflectance of at most 0.33; real woods reach 0.5, and meadows hardly more.
    """
    added = np.full(np.count_nonzero(trees), rng.uniform(0, MAX_FOLIAGE_LEVELS), np.float32)
    nir[trees] = brighten_foliage(nir[trees].astype(np.float32), added).astype(np.uint8)


@dataclass(frozen=True)
class BiomeSimulator:
    """Simulator of samples in the colours of random biomes; equal seeds give equal samples."""

    library: SpectralLibrary

    def __call__(self, seed: int) -> Sample:
        """Make one sample; plants that are not green are labelled by what they are (`relabel_by_greenness`)."""
        rng = np.random.default_rng([seed, 31])
        palette = BiomeSampler(self.library, rng).draw_palette()
        made = simulate_patch(seed, SAMPLE_SIZE_PX, RESOLUTIONS_M[seed % len(RESOLUTIONS_M)], palette)
        leafless = np.isin(made.kind, (GroundType.BROADLEAF, GroundType.CONIFER))
        return made.image, relabel_by_greenness(made.classes, made.ground, leafless), made.mask


@dataclass(frozen=True)
class RecolouredCrops:
    """Sampler of random windows of labelled real scenes and chips, recoloured into other biomes."""

    packed: PackedData

    def __call__(self, seed: int) -> Sample:
        """Make one sample."""
        rng = np.random.default_rng([seed, 37])
        source = self.sources[rng.choice(len(self.sources), p=self.weights)]
        factor = int(rng.choice((1, 1, 2)))
        layers = [downsample(source[:4], factor, rng), *(downsample(layer, factor, rng) for layer in source[4:])]
        stack = np.concatenate([layers[0], layers[1][None], layers[2][None]])
        window = rotate_or_flip(crop_random(stack, rng), int(rng.integers(8)))
        return Recolourer(self.packed.spectra).recolour((window[:4], window[4], window[5]), rng)

    @cached_property
    def sources(self) -> tuple[UInt8, ...]:
        """Stacks (6, y, x) of levels, cover and mask: every labelled scene, and every mosaic of chips."""
        scenes = [scene for scene in self.packed.scenes if np.isin(scene.cover, tuple(LandCover)[1:]).any()]
        chips = self.packed.chips["chips-ms"]
        chosen = _list_training_chips(chips)
        mosaics = build_chip_mosaics(chips.levels[chosen], chips.cover[chosen], CHIP_MOSAICS, seed=3)
        made = [(scene.levels, scene.cover, scene.mask) for scene in scenes] + list(mosaics)
        return tuple(np.concatenate([image, cover[None], mask[None]]) for image, cover, mask in made)

    @cached_property
    def weights(self) -> Float64:
        """Probability (n,) of each source: scenes by the root of their labelled area, and `CHIP_SHARE` for chips."""
        labelled = (*tuple(LandCover)[1:], BUILT)
        known = np.array([np.isin(one[4], labelled).sum() for one in self.sources[:-CHIP_MOSAICS]], np.float64)
        scenes = (1 - CHIP_SHARE) * np.sqrt(known) / np.sqrt(known).sum()
        return np.concatenate([scenes, np.full(CHIP_MOSAICS, CHIP_SHARE / CHIP_MOSAICS)])


def _list_training_chips(chips: ChipSet) -> list[int]:
    """List the chips that are not for validation: every fifth one is."""
    return [index for index in range(len(chips.levels)) if index % 5]


def simulate_preview_sample(seed: int) -> Sample:
    """Simulate one preview of a tile (352 pixels) and its cloud mask; its cover is 1 everywhere if it is hazy."""
    image, mask, haze = simulate_preview(seed, 352)
    return image, np.full(mask.shape, round(haze), np.uint8), mask


@dataclass(frozen=True)
class SkyOverlay:
    """Sampler of simulated skies over real clear scenes, with random crop, scale and orientation."""

    scenes: tuple[UInt8, ...]
    """Levels (4, y, x) of clear scenes."""

    def __call__(self, seed: int) -> Sample:
        """Make one sample; its cover is unknown."""
        rng = np.random.default_rng([seed, 7])
        areas = np.sqrt([float(scene[0].size) for scene in self.scenes])
        levels = self.scenes[rng.choice(len(areas), p=areas / areas.sum())]
        levels = downsample(levels, int(rng.choice((1, 1, 2, 4))), rng)
        levels = rotate_or_flip(crop_random(levels, rng), int(rng.integers(8)))
        ground = np.nan_to_num(build_reflectance_table())[levels] * rng.normal(1, 0.08)
        # the resolution of the sky is independent of the ground: clouds of every size over every texture
        res = int(rng.choice((10, 20, 60, 120)))
        image, mask, _ = overlay_sky(ground.astype(np.float32), res, seed)
        out = np.rint(apply_tone_curve(image)).astype(np.uint8)
        out[:, mask == 255] = 0
        return out, np.zeros(mask.shape, np.uint8), mask


def downsample(levels: UInt8, factor: int, rng: np.random.Generator, least: int = 64) -> UInt8:
    """Downsample by an integer factor.

    Args:
        levels: Levels (band, y, x), reduced by block means or sometimes by every n-th pixel; or labels (y, x), always
            reduced by every n-th pixel.
        factor: Reduction factor.
        rng: Random generator.
        least: Minimum side of the result in pixels; otherwise the image stays as it is.

    Returns:
        Reduced image; a block that contains no data (0) is no data.
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
    """Crop a random window of `SAMPLE_SIZE_PX` from (layer, y, x); a smaller image is padded by reflection."""
    short = [max(SAMPLE_SIZE_PX - side, 0) for side in stack.shape[1:]]
    if any(short):
        stack = np.pad(stack, ((0, 0), (0, short[0]), (0, short[1])), mode="reflect")
    y, x = (int(rng.integers(side - SAMPLE_SIZE_PX + 1)) for side in stack.shape[1:])
    out: UInt8 = stack[:, y : y + SAMPLE_SIZE_PX, x : x + SAMPLE_SIZE_PX]
    return out


def rotate_or_flip(stack: UInt8, way: int) -> UInt8:
    """Rotate by quarter turns and, from `way` 4 on, flip: the eight symmetries of the square."""
    quarter = np.rot90(stack, way % 4, axes=(-2, -1))
    out: UInt8 = np.ascontiguousarray(quarter[..., ::-1] if way >= 4 else quarter)
    return out


def crop_labelled_scenes(packed: PackedData, place: str, repeat: int) -> Iterator[Sample]:
    """Yield random windows of a place's labelled real scenes, at one, two and four times their pixel size."""
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
    """Build mosaics of EuroSAT chips.

    Every second sample has chips at half size, like pixels of 20 m. Two of five show one chip alone, padded by
    reflection: in a mosaic a network could recognise a chip by its edges, which towns do not have.

    Args:
        levels: Levels of the chips (n, band, 64, 64); a missing near-infrared band becomes 0.
        cover: Cover codes of the chips (n, 64, 64).
        count: Number of samples.
        seed: Seed of the random generator.
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
    """Build a sample that one chip fills, padded by reflection."""
    pick = int(rng.integers(len(levels)))
    stack = np.zeros((5, CHIP_SIZE_PX // factor, CHIP_SIZE_PX // factor), np.uint8)
    stack[: levels.shape[1]] = downsample(levels[pick], factor, rng, least=0)
    stack[4] = cover[pick, ::factor, ::factor]
    whole = crop_random(
        np.pad(stack, ((0, 0), (SAMPLE_SIZE_PX, SAMPLE_SIZE_PX), (SAMPLE_SIZE_PX, SAMPLE_SIZE_PX)), mode="reflect"), rng
    )
    return whole[:4], whole[4], np.zeros(whole.shape[1:], np.uint8)


def build_pool(job: Callable[[int], Sample], seeds: range, processes: int) -> Pool:
    """Build a pool by running `job` for each seed in worker processes; samples have the order of the seeds."""
    if processes == 1:
        return Pool.from_samples(map(job, seeds))
    with ProcessPoolExecutor(processes, mp_context=get_context("forkserver")) as executor:
        return Pool.from_samples(executor.map(job, seeds, chunksize=8))


def build_single_chips(levels: UInt8, cover: UInt8, *, plain: bool, seed: int) -> Iterator[Sample]:
    """Build one sample of 64 x 64 pixels per EuroSAT chip, so that networks also train on images without surroundings.

    Args:
        levels: Levels of the chips (n, band, 64, 64).
        cover: Cover codes of the chips (n, 64, 64).
        plain: Restore the linear 8-bit values of one chip in four, as if the JPEG were used without conversion.
        seed: Seed of the random generator.
    """
    rng = np.random.default_rng([seed, 17])
    for chip, land in zip(levels, cover, strict=True):
        image = np.zeros((4, CHIP_SIZE_PX, CHIP_SIZE_PX), np.uint8)
        image[: len(chip)] = restore_linear_levels(chip) if plain and rng.random() < 0.25 else chip
        yield image, land, np.zeros(land.shape, np.uint8)


def restore_linear_levels(levels: UInt8) -> UInt8:
    """Restore the linear 8-bit values of a EuroSAT RGB chip from its levels (3, y, x)."""
    air = np.array(RAYLEIGH_REFLECTANCE[:3], np.float32)[:, None, None]
    own = (np.nan_to_num(build_reflectance_table())[levels] + air) / np.float32(CHIP_REFLECTANCE_PER_LEVEL)
    out: UInt8 = np.clip(np.rint(own), 1, 255).astype(np.uint8)
    return out


def make_pools(out: Path, packed: PackedData, patches: int, processes: int, kinds: Collection[str]) -> None:
    """Make pools of samples and write them to `out`.

    Args:
        out: Folder of the pools.
        packed: Labelled real data.
        patches: Number of simulated samples; sizes of the other pools follow in proportion.
        processes: Number of processes that simulate.
        kinds: Members of `POOL_KINDS` to make.
    """
    held = range(FIRST_VALIDATION_SEED, FIRST_VALIDATION_SEED + max(patches // 20, 8))
    backgrounds = [scene.levels for scene in packed.scenes if scene.clear]
    backgrounds += [chip for chips in packed.chips.values() for chip in chips.levels if len(chip) == 4][::3]
    ground = SkyOverlay(tuple(backgrounds))
    jobs: dict[str, tuple[Callable[[int], Sample], int]] = {
        "simulated": (simulate_sample, patches),
        "preview": (simulate_preview_sample, patches // 3),
        "overlaid": (ground, patches // 2),
        "biomes": (BiomeSimulator(packed.spectra), patches),
        "open-water": (WaterSimulator(packed.spectra, SAMPLE_SIZE_PX), patches // 6),
        "recoloured": (RecolouredCrops(packed), patches // 2),
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
    """Write clouds-PLACE and cover-PLACE for each place with such labels; configurations choose which to hold out."""
    for place in sorted({scene.place for scene in packed.scenes}):
        for kind, fit in (("clouds", _select_cloud_samples), ("cover", _select_cover_samples)):
            samples = list(fit(crop_labelled_scenes(packed, place, 4)))
            if samples:
                Pool.from_samples(samples).save(out / f"{kind}-{place}")


def _write_chip_pools(out: Path, packed: PackedData, patches: int) -> None:
    """Write mosaics and single chips; every fifth chip is for validation."""
    for name, chips in packed.chips.items():
        held = np.arange(len(chips.levels)) % 5 == 0  # chips are sorted by class, so some of every class are held out
        for part, chosen in (("", ~held), ("-val", held)):
            count = max(patches // (6 if part == "" else 60), 4)
            levels, cover = chips.levels[chosen], chips.cover[chosen]
            Pool.from_samples(build_chip_mosaics(levels, cover, count, len(part))).save(out / f"{name}{part}")
            plain = name == "chips-rgb" and part == ""
            Pool.from_samples(build_single_chips(levels, cover, plain=plain, seed=len(part))).save(
                out / f"{name}-single{part}"
            )


def _select_cloud_samples(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Select samples with at least 2 % of known mask."""
    return (sample for sample in samples if (sample[2] != 255).mean() > 0.02)


def _select_cover_samples(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Select samples with at least 5 % of known land cover, and mark known ground as clear, even under a thin veil."""
    for image, cover, mask in samples:
        if (cover != LandCover.NODATA).mean() > 0.05:
            yield image, cover, np.where(cover != LandCover.NODATA, 0, mask).astype(np.uint8)
