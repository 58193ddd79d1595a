"""The scorecard: what is run, the page and the JSON that are written, and whether the figures have drifted."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from s2ops.config import describe
from s2ops.errors import ConfigError, OutputError
from s2ops.evaluation import (
    eurosat_chips,
    fusion_ablation,
    polygon_references,
    real_scenes,
    reservoir_water,
    simulated_scenes,
    single_network_comparison,
)
from s2ops.evaluation.accuracy import Curve, Figure
from s2ops.evaluation.scorecard_page import page
from s2ops.evaluation.simulated_scenes import Tally
from s2ops.models.registry import LANDCOVER, NETWORKS, find, tasks

TOLERANCE: Final = 0.02
"""How far a figure of the quick part may lie from the committed one: processors round convolutions differently."""


class Part(BaseModel):
    """All figures of one run."""

    model_config = ConfigDict(frozen=True)

    figures: tuple[Figure, ...]
    curves: tuple[Curve, ...]


class Card(BaseModel):
    """Content of scorecard.json."""

    model_config = ConfigDict(frozen=True)

    weights: dict[str, str]
    """SHA-256 of the networks that were scored."""
    full: Part
    quick: Part
    """The part that is run again to see whether anything has drifted."""


def run(data: Path | None, *, quick: bool, say: Callable[[str], None], all_classes: str | None = None) -> Part:
    """Score everything that the data at hand allows; without `data`, the simulated world alone.

    `all_classes` is a folder or URI with the network for all classes that the three are compared with.
    """
    tally = Tally()
    for name, job in _jobs(data, all_classes, quick=quick):
        say(name)
        job(tally)
    return Part(figures=tuple(tally.figures), curves=tuple(tally.curves))


Job: TypeAlias = Callable[[Tally], None]


def _jobs(data: Path | None, all_classes: str | None, *, quick: bool) -> Iterator[tuple[str, Job]]:
    places = 12 if quick else 40
    for res in (10, 120):
        yield f"clouds, {res} m", partial(simulated_scenes.clouds, res=res, count=places)
        yield f"cover, {res} m", partial(simulated_scenes.cover, res=res, count=places)
    yield "previews", partial(simulated_scenes.previews, count=places)
    tiles, dates = (1, 3) if quick else (4, 6)
    series: tuple[tuple[int, fusion_ablation.Weather], ...] = ((10, "mixed weather"),)
    if not quick:
        series = (*series, (10, "often cloudy"), (10, "never clear"), (120, "mixed weather"))
    for res, weather in series:
        job = partial(fusion_ablation.land_cover, res=res, tiles=tiles, dates=dates, weather=weather)
        yield f"series, {res} m, {weather}", job
    if all_classes is not None and not quick:
        yield (
            single_network_comparison.TITLE,
            partial(single_network_comparison.three_or_one, root=data, folder=all_classes, count=places),
        )
    if data is not None:
        real_scenes.check_folder(data)
        yield "Boadella", partial(reservoir_water.boadella, root=data, quick=quick)
        yield "Zagreb", partial(real_scenes.zagreb, root=data, quick=quick)
        yield "EuroSAT", partial(real_scenes.chips, root=data, quick=quick)
        if not quick:
            yield "Exeter", partial(real_scenes.exeter, root=data)
            yield "EuroSAT, all bands", partial(eurosat_chips.chips, root=data)
            yield "EuroSAT, clear", partial(eurosat_chips.clear, root=data)
            yield "clouds drawn by hand", partial(polygon_references.clouds, root=data)
            yield "towns drawn by hand", partial(polygon_references.towns, root=data)


def weights() -> dict[str, str]:
    """SHA-256 of the package's networks."""
    return {name: find(name).sha256 for name in NETWORKS}


def write(card: Card, folder: Path) -> None:
    """Write scorecard.json and scorecard.md."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scorecard.json").write_text(card.model_dump_json(indent=1) + "\n")
        (folder / "scorecard.md").write_text(page(card.full.figures, card.full.curves))
    except OSError as error:
        raise OutputError(f"cannot write the scorecard into {folder}: {error.strerror}; give another --out") from error


def read(path: Path) -> Card:
    """Read scorecard.json. Raises ConfigError."""
    try:
        return Card.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read the scorecard {path}: {error.strerror}; write it with `s2ops score`") from error
    except ValidationError as error:
        raise ConfigError(f"{path} is no scorecard ({describe(error)}): write it with `s2ops score`") from error


def with_claim(now: Part, old: Card, current: dict[str, str]) -> Part:
    """`now`, made without the network for all classes, with what `old` says of it.

    Where the networks are others by now, those figures name the weights that they are of.
    """
    names = (LANDCOVER, *(task.name for task in tasks(LANDCOVER)))
    theirs = ", ".join(f"{name} {old.weights.get(name, 'unknown')[:8]}" for name in names)
    other = any(old.weights.get(name) != current[name] for name in names)
    kept = [figure for figure in old.full.figures if figure.data.startswith(single_network_comparison.TITLE)]
    if other:
        kept = [figure.model_copy(update={"weights": figure.weights or theirs}) for figure in kept]
    curves = [curve for curve in old.full.curves if curve.data.startswith(single_network_comparison.TITLE)]
    return Part(figures=(*now.figures, *kept), curves=(*now.curves, *curves))


def drift(card: Card, now: Part, current: dict[str, str]) -> list[str]:
    """What differs from the committed card: other weights, figures beyond `TOLERANCE`, figures that are missing there.

    Figures of data that are not at hand now are not missed.
    """
    found = [
        f"{name}: the scorecard is of other weights" for name in current if card.weights.get(name) != current[name]
    ]
    committed = {figure.key: figure for figure in card.quick.figures}
    for figure in now.figures:
        name = ", ".join(figure.key)
        old = committed.get(figure.key)
        if old is None and figure.seen != "no training":  # a peer may be installed here and not there
            found.append(f"{name}: not in the scorecard")
        elif old is not None and abs(old.value - figure.value) > TOLERANCE:
            found.append(f"{name}: {figure.value:.4f}, in the scorecard {old.value:.4f}")
    return found
