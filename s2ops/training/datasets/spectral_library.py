"""Spectral library: measured and modelled reflectance spectra of ground, roofs and plants in the bands of Sentinel-2.

Soils, sands, roofs, roads, dry plants and burned ground are the measured spectra of `earthlib` (MIT, C. Anderson).
Canopies are computed by PROSAIL (PROSPECT-5 and 4SAIL; Jacquemoud et al. 2009, package `prosail`) over those soils,
from bare to closed. Snow and salt have no spectra there and are modelled from published mean albedos.
"""

import csv
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from s2ops.constants import Float32, Float64

SpectralLibrary: TypeAlias = Mapping[str, Float32]
"""Reflectance (n, 4) of red, green, blue and nir by material; the keys are those of `MATERIALS`."""

MATERIALS: Final = ("soil", "sand", "gravel", "roof", "road", "dry", "burned", "canopy", "snow", "salt")
"""Names of the materials."""

BAND_RANGES_UM: Final = ((0.649, 0.680), (0.542, 0.578), (0.459, 0.525), (0.780, 0.886))
"""Wavelengths of B04, B03, B02 and B08 at half of the peak response, micrometres (Sentinel-2A, ESA's published spectral
responses); the response is taken as constant between them."""

_EARTHLIB_CLASSES: Final[dict[str, str]] = {
    "soil": "soil", "dirt": "soil", "sand": "sand", "gravel": "gravel",
    "comp_shingle": "roof", "wood_shingle": "roof", "concrete_tile": "roof", "tile": "roof", "metal": "roof",
    "paint": "roof", "road": "road", "sidewalk": "road", "parking_lot": "road", "asphalt": "road", "driveway": "road",
    "bridge": "road", "npv": "dry", "litter": "dry", "bark": "dry", "wood": "dry", "char": "burned",
}  # fmt: skip
"""Material of each class of earthlib (its column LEVEL_3)."""

CANOPY_COUNT: Final = 2000
"""Number of canopies that are computed."""

_SNOW_ENDS: Final = np.array([[0.95, 0.96, 0.97, 0.88], [0.55, 0.56, 0.58, 0.48]], np.float32)
"""Fresh and old snow (Warren 1982): red, green, blue, nir."""
_SALT_ENDS: Final = np.array([[0.75, 0.70, 0.62, 0.78], [0.38, 0.34, 0.28, 0.42]], np.float32)
"""Dry and moist salt crust."""


def build_library(earthlib: Path) -> dict[str, Float32]:
    """Build the spectral library.

    Args:
        earthlib: Folder with spectra.csv and spectra.sli of earthlib.

    Returns:
        Reflectance (n, 4) by material.
    """
    with (earthlib / "spectra.csv").open(newline="") as rows:
        classes = [row["LEVEL_3"] for row in csv.DictReader(rows)]
    spectra = np.fromfile(earthlib / "spectra.sli", "<f4").reshape(len(classes), -1)
    wavelengths: Float64 = 0.40 + 0.01 * np.arange(spectra.shape[1], dtype=np.float64)
    made = {}
    for material in dict.fromkeys(_EARTHLIB_CLASSES.values()):
        chosen = [_EARTHLIB_CLASSES.get(name) == material for name in classes]
        found = convolve_bands(wavelengths, spectra[chosen])
        made[material] = found[((found > 0.002) & (found < 1.2)).all(axis=1)]
    rng = np.random.default_rng(23)
    soils = spectra[[name == "soil" for name in classes]]
    made["canopy"] = simulate_canopies(rng, wavelengths, soils[(soils > 0).all(axis=1)], CANOPY_COUNT)
    for name, ends in (("snow", _SNOW_ENDS), ("salt", _SALT_ENDS)):
        place = rng.random((200, 1), dtype=np.float32)
        made[name] = ends[0] + place * (ends[1] - ends[0])
    return made


def convolve_bands(wavelengths: Float64, spectra: Float32) -> Float32:
    """Average spectra over the wavelengths of the four bands.

    Args:
        wavelengths: Wavelengths (w,), micrometres.
        spectra: Reflectance (n, w).

    Returns:
        Reflectance (n, 4) of red, green, blue, nir.
    """
    inside = [(wavelengths >= low - 1e-9) & (wavelengths <= high + 1e-9) for low, high in BAND_RANGES_UM]
    return np.stack([spectra[:, part].mean(axis=1) for part in inside], axis=1).astype(np.float32)


def simulate_canopies(rng: np.random.Generator, wavelengths: Float64, soils: Float32, count: int) -> Float32:
    """Simulate canopies by PROSAIL: leaves and crops of any state and density over measured soils.

    Args:
        rng: Random generator.
        wavelengths: Wavelengths (w,) of the soils, micrometres.
        soils: Reflectance (n, w).
        count: Number of canopies.

    Returns:
        Reflectance (count, 4) of red, green, blue, nir.
    """
    run_prosail = import_module("prosail").run_prosail  # a dependency of packing training data only
    fine = np.arange(400, 2501) / 1000
    found = []
    for _ in range(count):
        soil = np.interp(fine, wavelengths, soils[rng.integers(len(soils))]) * rng.uniform(0.6, 1.1)
        chlorophyll, brown = rng.uniform(15, 70), rng.uniform(0, 0.8) * (rng.random() < 0.4)
        spectrum = run_prosail(
            rng.uniform(1.2, 2.2), chlorophyll, chlorophyll / 4, brown, rng.uniform(0.004, 0.03),
            rng.uniform(0.003, 0.012), 7 * rng.random() ** 1.5 + 0.1, rng.uniform(30, 70), rng.uniform(0.01, 0.2),
            rng.uniform(20, 65), rng.uniform(0, 10), rng.uniform(0, 180), rsoil0=soil,
        )  # fmt: skip
        found.append(spectrum)
    return convolve_bands(fine, np.array(found, np.float32))


def compute_library_ndvi(spectra: Float32) -> Float32:
    """Compute NDVI (n,) of reflectance (n, 4)."""
    out: Float32 = (spectra[:, 3] - spectra[:, 0]) / (spectra[:, 3] + spectra[:, 0])
    return out
