"""Land-cover networks as the user chooses: separate networks, one shared network, or the mean of both.

Each choice is a `Segmenter` with the bands and classes of the network `landcover`, so that windows, fusion of dates and
outputs do not depend on it. Its networks may run in this process or on a server.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from s2ops.config import NetworkChoice
from s2ops.constants import UInt8
from s2ops.errors import ModelError
from s2ops.inference.protocols import Segmenter
from s2ops.models.registry import (
    LANDCOVER,
    LANDCOVER_NETWORKS,
    NETWORKS,
    fill_reference_classes,
    list_head_sizes,
)


@dataclass(frozen=True)
class SeparateNetworks:
    """Segmenter whose heads are networks of one task each (`Segmenter`)."""

    networks: tuple[Segmenter, ...]
    """Networks of the tasks, in the order of the heads of `landcover`."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Input bands: those of all networks."""
        return NETWORKS[LANDCOVER].bands

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the output's second axis: those of the networks, one after the other."""
        return NETWORKS[LANDCOVER].classes

    @property
    def window(self) -> int:
        """Side of the square windows in pixels."""
        return self.networks[0].window

    def predict(self, windows: UInt8) -> UInt8:
        """Predict class probabilities; each network gets its own bands (see `Segmenter.predict`)."""
        parts = []
        for network in self.networks:
            bands = [self.bands.index(band) for band in network.bands]
            parts.append(network.predict(np.ascontiguousarray(windows[:, bands])))
        return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class MeanNetworks:
    """Segmenter that averages the probabilities of two segmenters of land cover (`Segmenter`)."""

    first: Segmenter
    second: Segmenter

    @property
    def bands(self) -> tuple[str, ...]:
        """Input bands of both segmenters."""
        return self.first.bands

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the output's second axis."""
        return self.first.classes

    @property
    def window(self) -> int:
        """Side of the square windows in pixels."""
        return self.first.window

    def predict(self, windows: UInt8) -> UInt8:
        """Predict the mean of both probabilities (see `average_probabilities`)."""
        return average_probabilities(self.first.predict(windows), self.second.predict(windows))


def average_probabilities(first: UInt8, second: UInt8) -> UInt8:
    """Average the probabilities of two land-cover segmenters.

    The mean of a class is rounded down. The first class of each head ("other") is 255 minus the sum of the head's other
    classes, so that each head sums to exactly 255.

    Args:
        first: uint8 probabilities (n, class, y, x).
        second: uint8 probabilities (n, class, y, x).

    Returns:
        uint8 probabilities (n, class, y, x).
    """
    # floor of the mean without 16-bit arrays: the bits that both have, and half of those that only one has
    mean: UInt8 = (first & second) + ((first ^ second) >> 1)
    fill_reference_classes(mean, list_head_sizes(LANDCOVER))
    return mean


def check_windows(windows: Mapping[str, int]) -> None:
    """Raise ModelError if networks that read the same windows have windows of different sizes.

    Args:
        windows: Side of the windows in pixels, by network.
    """
    if len(set(windows.values())) > 1:
        found = ", ".join(f"{name} {side}" for name, side in windows.items())
        raise ModelError(
            f"The land-cover networks cannot be combined: their windows have different sides in pixels ({found}); "
            "provide weights with equal windows, or choose networks: shared."
        )


def open_landcover_segmenter(choice: NetworkChoice, open_network: Callable[[str], Segmenter]) -> Segmenter:
    """Open the networks of a choice as one segmenter with the bands and classes of `landcover`.

    Args:
        choice: Choice of the user.
        open_network: Function that opens a network by its name.

    Raises:
        ModelError: If weights are missing or not valid, or the networks have windows of different sizes.
    """
    opened = {name: open_network(name) for name in LANDCOVER_NETWORKS[choice]}
    check_windows({name: network.window for name, network in opened.items()})
    if choice == "shared":
        return opened[LANDCOVER]
    separate = SeparateNetworks(tuple(opened[name] for name in NETWORKS[LANDCOVER].heads))
    return separate if choice == "separate" else MeanNetworks(opened[LANDCOVER], separate)
