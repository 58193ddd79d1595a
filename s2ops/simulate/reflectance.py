"""Surface reflectance of the cloud-free ground on a day: signatures, parcels, seasons (phenology) and texture."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.constants import Float32
from s2ops.simulate.ground import Climate, Ground
from s2ops.simulate.ground_types import GroundType, collect_weights
from s2ops.simulate.noise import SamplePoints, compute_fbm, compute_value_noise
from s2ops.simulate.palette import WORLD_PALETTE, Palette

MEAN_POSITIONS: Final = collect_weights("level")
PARCEL_WEIGHTS: Final = collect_weights("parcel")
SEASON_WEIGHTS: Final = collect_weights("season")
GRAIN_WEIGHTS: Final = collect_weights("grain")

YEAR_DAYS: Final = 365.25


def compute_dryness(air: Climate, day: int) -> Float32:
    """Compute the dryness or leaflessness of vegetation on a day of the year, 0 (lush) to 1, broadcastable to (y, x).

    Winter depends on latitude and hemisphere; in dry climates vegetation is brown in summer.
    """
    lat = air.latitude
    phase = np.float32(2 * np.pi * (day - 20) / YEAR_DAYS)
    winter = np.float32(0.5) + np.float32(0.5) * np.cos(phase) * np.tanh(lat / 8)
    cold = np.clip((np.abs(lat) - np.float32(25)) / 20, 0, 1) * np.maximum(winter * 1.5 - np.float32(0.5), 0)
    parched = np.clip(air.arid * 2 - np.float32(0.3), 0, 1) * np.clip(1 - winter, 0.2, 1)
    out: Float32 = np.maximum(cold, parched).astype(np.float32)
    return out


@dataclass(frozen=True)
class SurfaceTexture:
    """Part of a window's reflectance that is the same on all days, arrays (y, x) float32."""

    land: Ground
    place: Float32
    """Position between the low (0) and the high (1) spectrum of the ground type, without season."""
    bright: Float32
    """Brightness factor of texture and relief."""


def compute_texture(seed: int, land: Ground, at: SamplePoints) -> SurfaceTexture:
    """Compute parcels, mottling, texture and relief of the ground."""
    kind = land.kind
    place = MEAN_POSITIONS[kind] + PARCEL_WEIGHTS[kind] * (land.variety - np.float32(0.5))
    place += np.float32(0.06) * compute_fbm(seed + 40, at, 700.0, 3)
    grain = compute_fbm(seed + 41, at, 48.0, 3, gain=0.8)
    if at.finest > 30:  # only the first octave is left, which would alias: a fraction of it approximates the mean
        grain *= np.float32(0.25)
    slope = compute_value_noise(seed + 42, at, 900.0) + compute_value_noise(seed + 43, at, 330.0)
    bright = np.float32(1) + GRAIN_WEIGHTS[kind] * (grain + slope)
    return SurfaceTexture(land, place, np.maximum(bright, np.float32(0.35), out=bright))


def compute_reflectance(ground: SurfaceTexture, day: int, palette: Palette = WORLD_PALETTE) -> Float32:
    """Compute surface reflectance (4, y, x) of red, green, blue and nir, float32, without atmosphere, gain or noise.

    Args:
        ground: Texture of the window.
        day: Day of the year.
        palette: Spectra of the ground types.
    """
    land = ground.land
    kind = land.kind
    place = ground.place + SEASON_WEIGHTS[kind] * np.maximum(
        compute_dryness(land.climate, day), _compute_harvest(land, day)
    )
    np.clip(place, -0.1, 1.15, out=place)
    out = np.empty((4, *kind.shape), np.float32)
    for band in range(4):
        low = palette.low[band]
        out[band] = (low[kind] + place * (palette.high[band] - low)[kind]) * ground.bright
    return np.maximum(out, np.float32(0.001), out=out)


def _compute_harvest(land: Ground, day: int) -> Float32:
    """Compute the harvest state: 1 for crops that are ripe or cut, from early summer to autumn, at a time per field."""
    turn = day if float(land.climate.latitude.flat[0]) >= 0 else (day + 183) % 365
    ripe = np.clip((turn - 165 - 110 * land.timing) / 25, 0, 1) * np.clip((320 - turn) / 30, 0, 1)
    out: Float32 = np.where(land.kind == GroundType.CROP, ripe, 0).astype(np.float32)
    return out
