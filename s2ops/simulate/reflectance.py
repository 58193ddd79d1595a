"""What the cloud-free ground reflects on a given day: spectra of kinds, parcels, seasons and texture."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from s2ops.constants import Float32
from s2ops.simulate.ground import Climate, Ground
from s2ops.simulate.ground_types import HIGH, LOW, Kind, weights
from s2ops.simulate.noise import Points, fbm, value_noise

LEVEL: Final = weights("level")
PARCEL: Final = weights("parcel")
SEASON: Final = weights("season")
GRAIN: Final = weights("grain")

YEAR: Final = 365.25


def dryness(air: Climate, day: int) -> Float32:
    """How dry or leafless vegetation is on a day of the year: 0 lush .. 1; broadcastable to (y, x).

    Winter counts by latitude and hemisphere; in dry climates it is the summer that is brown.
    """
    lat = air.latitude
    phase = np.float32(2 * np.pi * (day - 20) / YEAR)
    winter = np.float32(0.5) + np.float32(0.5) * np.cos(phase) * np.tanh(lat / 8)
    cold = np.clip((np.abs(lat) - np.float32(25)) / 20, 0, 1) * np.maximum(winter * 1.5 - np.float32(0.5), 0)
    parched = np.clip(air.arid * 2 - np.float32(0.3), 0, 1) * np.clip(1 - winter, 0.2, 1)
    out: Float32 = np.maximum(cold, parched).astype(np.float32)
    return out


@dataclass(frozen=True)
class Fabric:
    """What of a window's reflectance is the same on all days, (y, x) float32."""

    land: Ground
    place: Float32
    """Between the low (0) and the high (1) spectrum of the kind, before seasons."""
    bright: Float32
    """Factor of texture and relief."""


def fabric(seed: int, land: Ground, at: Points) -> Fabric:
    """Parcels, mottling, texture and relief of the ground."""
    kind = land.kind
    place = LEVEL[kind] + PARCEL[kind] * (land.variety - np.float32(0.5))
    place += np.float32(0.06) * fbm(seed + 40, at, 700.0, 3)
    grain = fbm(seed + 41, at, 48.0, 3, gain=0.8)
    if at.finest > 30:  # only the first octave is left, which would alias: a part of it stands for the mean
        grain *= np.float32(0.25)
    slope = value_noise(seed + 42, at, 900.0) + value_noise(seed + 43, at, 330.0)
    bright = np.float32(1) + GRAIN[kind] * (grain + slope)
    return Fabric(land, place, np.maximum(bright, np.float32(0.35), out=bright))


def reflectance(ground: Fabric, day: int) -> Float32:
    """Surface reflectance (4, y, x) of red, green, blue and nir, float32, without atmosphere, gain or noise."""
    land = ground.land
    kind = land.kind
    place = ground.place + SEASON[kind] * np.maximum(dryness(land.climate, day), _harvest(land, day))
    np.clip(place, -0.1, 1.15, out=place)
    out = np.empty((4, *kind.shape), np.float32)
    for band in range(4):
        low = LOW[band]
        out[band] = (low[kind] + place * (HIGH[band] - low)[kind]) * ground.bright
    return np.maximum(out, np.float32(0.001), out=out)


def _harvest(land: Ground, day: int) -> Float32:
    """1 on crops that are ripe or cut: from early summer to autumn, each field at its own time."""
    turn = day if float(land.climate.latitude.flat[0]) >= 0 else (day + 183) % 365
    ripe = np.clip((turn - 165 - 110 * land.timing) / 25, 0, 1) * np.clip((320 - turn) / 30, 0, 1)
    out: Float32 = np.where(land.kind == Kind.CROP, ripe, 0).astype(np.float32)
    return out
