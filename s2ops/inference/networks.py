"""Networks of a run behind one interface: in this process by ONNX Runtime, or on a Triton server."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from s2ops.inference.protocols import ImageClassifier, Networks, Segmenter, WeightsInfo
from s2ops.models.registry import find_weights
from s2ops.runtime.threads import deduplicate_calls


@dataclass(frozen=True)
class OnnxNetworks:
    """Networks that run in this process by ONNX Runtime (`Networks`)."""

    models: str | None = None
    """Folder or URI of the weights, or None for the package's own."""
    threads: int = 1
    _open: Callable[[str], Segmenter] = field(init=False, repr=False)
    _find: Callable[[str], WeightsInfo] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from s2ops.inference.onnx import open_segmenter  # noqa: PLC0415 -- not needed with a server

        open_one = partial(open_segmenter, models=self.models, threads=self.threads)
        object.__setattr__(self, "_open", deduplicate_calls(open_one))
        object.__setattr__(self, "_find", deduplicate_calls(partial(find_weights, models=self.models)))

    def get_weights_info(self, network: str) -> WeightsInfo:
        """Return the weights file, read once per process: every tile's fingerprint contains its checksum."""
        return self._find(network)

    def get_segmenter(self, network: str) -> Segmenter:
        """Return the segmentation network, loaded once per process."""
        return self._open(network)

    @cached_property
    def haze_classifier(self) -> ImageClassifier:
        """Haze network."""
        from s2ops.inference.onnx import open_image_classifier  # noqa: PLC0415 -- not needed with a server

        return open_image_classifier("preview-haze", self.models)


def open_networks(segmenter: str, models: str | None, threads: int, max_wait_s: float | None = None) -> Networks:
    """Open the networks where the configuration's `segmenter` places them.

    Args:
        segmenter: "onnx" for this process, or the URL of a Triton server.
        models: Folder or URI of the weights, or None for the package's own; for networks in this process only.
        threads: Number of windows computed in parallel; for networks in this process only.
        max_wait_s: Maximum time in seconds to wait for a server, if less than its usual patience; None changes nothing.
    """
    if segmenter == "onnx":
        return OnnxNetworks(models, threads)
    from s2ops.inference.triton.client import ClientLimits  # noqa: PLC0415 -- gRPC is not needed without a server
    from s2ops.inference.triton.networks import TritonNetworks  # noqa: PLC0415

    limits = ClientLimits.from_environment()
    if max_wait_s is not None:
        limits = replace(limits, patience_s=min(limits.patience_s, max_wait_s))
    return TritonNetworks(segmenter, limits)
