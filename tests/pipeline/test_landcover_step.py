"""Landcover step: fingerprints contain the weights of every network that runs."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from s2ops.config import NetworkChoice, RunConfig
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.models.registry import LANDCOVER_NETWORKS
from s2ops.pipeline.steps import landcover
from s2ops.pipeline.steps.landcover import LandcoverInputs
from s2ops.run.context import RunContext

CHOICES: tuple[NetworkChoice, ...] = ("separate", "shared", "both")


def make_inputs(names: Sequence[str], **changed: str) -> LandcoverInputs:
    return LandcoverInputs([], None, 120, {name: f"sha-{name}" for name in names} | changed)


@pytest.mark.parametrize("choice", CHOICES)
def test_fingerprint_changes_with_the_weights_of_each_network(choice: NetworkChoice) -> None:
    names = LANDCOVER_NETWORKS[choice]
    found = {landcover.fingerprint(make_inputs(names))}
    found |= {landcover.fingerprint(make_inputs(names, **{name: "other"})) for name in names}
    assert len(found) == len(names) + 1


def test_fingerprints_of_the_choices_differ() -> None:
    assert len({landcover.fingerprint(make_inputs(LANDCOVER_NETWORKS[choice])) for choice in CHOICES}) == 3


@dataclass(frozen=True)
class WeightsOnly:
    """Identity of weights that no network loads."""

    sha256: str


@pytest.mark.parametrize("choice", CHOICES)
def test_prepare_asks_for_the_weights_of_the_chosen_networks_only(
    choice: NetworkChoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig.model_validate(
        {
            "region": {"tiles": ["33TWL"]}, "dates": {"start": "2023-06-01", "end": "2023-08-31"}, "out": "nowhere",
            "landcover": {"source": "mosaic", "networks": choice},
        }
    )  # fmt: skip
    tile = parse_tile("33TWL")
    image = landcover._SourceImage("mosaic", "key", "sha", None, ())
    monkeypatch.setattr(landcover, "_find_mosaic_image", lambda *_: image)
    monkeypatch.setattr(RunContext, "load_weights_info", lambda _, name: WeightsOnly(f"sha-{name}"))
    made = landcover.prepare(RunContext(config, (tile,)), tile)
    assert made == replace(make_inputs(LANDCOVER_NETWORKS[choice]), images=[image], res=10)
