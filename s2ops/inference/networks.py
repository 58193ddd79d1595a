"""The networks of a run as one door, wherever they run: in this process, or on a server."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial

from s2ops.inference.protocols import Networks, Scorer, Segmenter, Weights
from s2ops.models.registry import find
from s2ops.runtime.threads import asked_once


@dataclass(frozen=True)
class OnnxNetworks:
    """The networks in this process (`Networks`)."""

    models: str | None = None
    """Folder or URI of the weights; None: the package's."""
    threads: int = 1
    _opened: Callable[[str], Segmenter] = field(init=False, repr=False)
    _found: Callable[[str], Weights] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from s2ops.inference.onnx import open_segmenter  # noqa: PLC0415 -- its runtime is not loaded beside a server

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
    def scorer(self) -> Scorer:
        """The haze network."""
        from s2ops.inference.onnx import open_scorer  # noqa: PLC0415

        return open_scorer("preview-haze", self.models)


def open_networks(segmenter: str, models: str | None, threads: int) -> Networks:
    """The networks where the configuration's `segmenter` says; `models` and `threads` are for those in process."""
    if segmenter == "onnx":
        return OnnxNetworks(models, threads)
    from s2ops.inference.triton.networks import TritonNetworks  # noqa: PLC0415 -- gRPC is not loaded where nobody asks for it

    return TritonNetworks(segmenter)
