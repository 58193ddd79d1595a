"""Check of a run's networks before any work, so that missing or wrong weights do not end a run halfway."""

from typing import Final

from s2ops.inference.landcover_networks import check_windows
from s2ops.inference.networks import open_networks
from s2ops.models.registry import LANDCOVER_NETWORKS, list_run_networks
from s2ops.run.context import RunContext

CHECK_PATIENCE_S: Final = 5.0
"""Seconds to wait for an inference server: a server that starts later must not hold up a plan."""


def check_networks(ctx: RunContext) -> None:
    """Read the weights of every network that the run needs, or ask the inference server for them.

    Raises:
        ModelError: If weights are missing or not valid, or the networks of land cover cannot be combined.
        TransientError: If the object store or the inference server does not answer, so that nothing was checked.
    """
    config = ctx.config
    load = ctx.load_weights_info
    if config.segmenter != "onnx":
        load = open_networks(config.segmenter, None, 1, CHECK_PATIENCE_S).get_weights_info
    metadata = {name: load(name).meta for name in list_run_networks(config)}
    combined = LANDCOVER_NETWORKS[config.landcover.networks] if config.landcover.enabled else ()
    check_windows({name: metadata[name].window for name in combined})
