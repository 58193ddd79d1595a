"""The networks of a run as one door, wherever they run: in this process, or on a server."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Final, Protocol

import numpy as np

from s2ops.codes import BANDS, UInt8
from s2ops.errors import ModelError
from s2ops.inference.onnx import open_scorer, open_segmenter
from s2ops.inference.segmenter import Scorer, Segmenter
from s2ops.models.registry import ModelMeta, find
from s2ops.parallel import asked_once

LAND_NETWORKS: Final = ("water", "vegetation", "building")
"""The networks of the land-cover map, in the order of its combined classes."""


class Weights(Protocol):
    """Which weights answer: their metadata, and the checksum that goes into fingerprints and items."""

    @property
    def meta(self) -> ModelMeta:
        """What the weights say of themselves."""

    @property
    def sha256(self) -> str:
        """Of the weights file."""


class Networks(Protocol):
    """All networks of a run; each is opened when first asked for."""

    def weights(self, network: str) -> Weights:
        """The weights that `segmenter` or `scorer` of that name answer with."""

    def segmenter(self, network: str) -> Segmenter:
        """A network that labels pixels."""

    @property
    def landcover(self) -> Segmenter:
        """The networks of `LAND_NETWORKS` as one: bands as in `BANDS`, classes one after the other."""

    @property
    def scorer(self) -> Scorer:
        """The haze network."""


@dataclass(frozen=True)
class Together:
    """Several networks asked as one (`Segmenter`). A single one keeps its bands; several take all of `BANDS`."""

    members: tuple[Segmenter, ...]

    def __post_init__(self) -> None:
        if len(windows := {member.window for member in self.members}) != 1:
            raise ModelError(
                f"networks that are asked together need one window size, but theirs are {sorted(windows)}: "
                "export the weights with the same window"
            )

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands taken, in their order."""
        return self.members[0].bands if len(self.members) == 1 else BANDS

    @property
    def classes(self) -> tuple[str, ...]:
        """Of all members, one after the other."""
        return tuple(name for member in self.members for name in member.classes)

    @property
    def window(self) -> int:
        """Side of the square windows, in pixels."""
        return self.members[0].window

    def predict(self, windows: UInt8) -> UInt8:
        """(n, band, y, x) levels -> (n, class, y, x) probabilities."""
        if len(self.members) == 1:
            return self.members[0].predict(windows)
        answers = [m.predict(windows[:, [BANDS.index(band) for band in m.bands]]) for m in self.members]
        return np.concatenate(answers, axis=1)


@dataclass(frozen=True)
class OnnxNetworks:
    """The networks in this process (`Networks`)."""

    models: str | None = None
    """Folder or URI of the weights; None: the package's."""
    threads: int = 1
    _opened: Callable[[str], Segmenter] = field(init=False, repr=False)
    _found: Callable[[str], Weights] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        opened = partial(open_segmenter, models=self.models, threads=self.threads)
        object.__setattr__(self, "_opened", asked_once(opened))
        object.__setattr__(self, "_found", asked_once(partial(find, models=self.models)))

    def weights(self, network: str) -> Weights:
        """The weights file, read once a process: every tile's fingerprint asks for its checksum."""
        return self._found(network)

    def segmenter(self, network: str) -> Segmenter:
        """The network, loaded once a process."""
        return self._opened(network)

    @cached_property
    def landcover(self) -> Segmenter:
        """The three networks, run one after the other."""
        return Together(tuple(self.segmenter(name) for name in LAND_NETWORKS))

    @cached_property
    def scorer(self) -> Scorer:
        """The haze network."""
        return open_scorer("preview-haze", self.models)


def open_networks(segmenter: str, models: str | None, threads: int) -> Networks:
    """The networks where the configuration's `segmenter` says; `models` and `threads` are for those in process."""
    if segmenter == "onnx":
        return OnnxNetworks(models, threads)
    from s2ops.inference.triton import TritonNetworks  # noqa: PLC0415 -- gRPC is not loaded where nobody asks for it

    return TritonNetworks(segmenter)
