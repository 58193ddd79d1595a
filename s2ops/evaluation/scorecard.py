"""Scorecard (benchmark of all networks): run the scores, read and write scorecard.json, detect drift of the figures."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from s2ops.config import describe_findings
from s2ops.errors import ConfigError, OutputError
from s2ops.evaluation import (
    eurosat_chips,
    fusion_ablation,
    polygon_references,
    real_scenes,
    reservoir_water,
    simulated_scenes,
    single_network_comparison,
    world_checks,
)
from s2ops.evaluation.accuracy import Figure, ReliabilityCurve
from s2ops.evaluation.scorecard_page import render_page
from s2ops.evaluation.simulated_scenes import FigureCollection
from s2ops.models.registry import LANDCOVER, NETWORKS, find_weights, list_tasks

TOLERANCE: Final = 0.02
"""Maximum difference of a quick figure from the committed one: processors round convolutions differently."""


class ScorecardPart(BaseModel):
    """Figures and reliability curves of one run."""

    model_config = ConfigDict(frozen=True)

    figures: tuple[Figure, ...]
    curves: tuple[ReliabilityCurve, ...]


class Scorecard(BaseModel):
    """Scorecard: content of scorecard.json."""

    model_config = ConfigDict(frozen=True)

    weights: dict[str, str]
    """SHA-256 of each network that was scored."""
    full: ScorecardPart
    quick: ScorecardPart
    """Small part that `s2ops score --check` runs again to detect drift."""


def run_scorecard(
    data: Path | None, *, quick: bool, report: Callable[[str], None], all_classes: str | None = None
) -> ScorecardPart:
    """Score all networks on the available data.

    Args:
        data: Folder of the real data; None scores the simulated world alone.
        quick: Score a small part only.
        report: Called with the name of each job before it starts.
        all_classes: Folder or URI with the network for all classes, to compare the three networks with it.
    """
    tally = FigureCollection()
    for name, job in _list_jobs(data, all_classes, quick=quick):
        report(name)
        job(tally)
    return ScorecardPart(figures=tuple(tally.figures), curves=tuple(tally.curves))


Job: TypeAlias = Callable[[FigureCollection], None]


def _list_jobs(data: Path | None, all_classes: str | None, *, quick: bool) -> Iterator[tuple[str, Job]]:
    """Yield (name, job) for everything that is scored; a job adds its figures to a collection."""
    places = 12 if quick else 40
    for res in (10, 120):
        yield f"clouds, {res} m", partial(simulated_scenes.score_clouds, res=res, count=places)
        yield f"cover, {res} m", partial(simulated_scenes.score_land_cover, res=res, count=places)
    yield "previews", partial(simulated_scenes.score_previews, count=places)
    tiles, dates = (1, 3) if quick else (4, 6)
    series: tuple[tuple[int, fusion_ablation.Weather], ...] = ((10, "mixed weather"),)
    if not quick:
        series = (*series, (10, "often cloudy"), (10, "never clear"), (120, "mixed weather"))
    for res, weather in series:
        job = partial(fusion_ablation.score_land_cover, res=res, tiles=tiles, dates=dates, weather=weather)
        yield f"series, {res} m, {weather}", job
    if all_classes is not None and not quick:
        yield (
            single_network_comparison.TITLE,
            partial(single_network_comparison.compare_networks, root=data, folder=all_classes, count=places),
        )
    if data is not None:
        real_scenes.check_folder(data)
        yield "Boadella", partial(reservoir_water.score_boadella, root=data, quick=quick)
        yield "Zagreb", partial(real_scenes.score_zagreb, root=data, quick=quick)
        yield "EuroSAT", partial(real_scenes.score_chips, root=data, quick=quick)
        if not quick:
            yield "Exeter", partial(real_scenes.score_exeter, root=data)
            yield "EuroSAT, all bands", partial(eurosat_chips.score_chips, root=data)
            yield "EuroSAT, clear", partial(eurosat_chips.score_clear_chips, root=data)
            yield "clouds drawn by hand", partial(polygon_references.score_clouds, root=data)
            yield "towns drawn by hand", partial(polygon_references.score_towns, root=data)
            yield "world checks", partial(world_checks.score_world, root=data)


def hash_weights() -> dict[str, str]:
    """Return the SHA-256 of each network of the package."""
    return {name: find_weights(name).sha256 for name in NETWORKS}


def write_scorecard(card: Scorecard, folder: Path) -> None:
    """Write scorecard.json and scorecard.md. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scorecard.json").write_text(card.model_dump_json(indent=1) + "\n")
        (folder / "scorecard.md").write_text(render_page(card.full.figures, card.full.curves))
    except OSError as error:
        raise OutputError(
            f"Cannot write the scorecard to {folder}: {error.strerror}; give another folder as --out."
        ) from error


def read_scorecard(path: Path) -> Scorecard:
    """Read scorecard.json. Raises ConfigError."""
    try:
        return Scorecard.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"Cannot read the scorecard {path}: {error.strerror}; write it with `s2ops score`."
        ) from error
    except ValidationError as error:
        raise ConfigError(
            f"{path} is not a valid scorecard: {describe_findings(error)}; write it with `s2ops score`."
        ) from error


def keep_network_comparison(now: ScorecardPart, old: Scorecard, current: dict[str, str]) -> ScorecardPart:
    """Keep the comparison with the network for all classes from an earlier scorecard, if a run did not repeat it.

    Args:
        now: Figures of the run without the network for all classes.
        old: Earlier scorecard.
        current: SHA-256 of the present networks. If they differ from those of `old`, the kept figures name the weights
            that they were computed with.
    """
    names = (LANDCOVER, *(task.name for task in list_tasks(LANDCOVER)))
    theirs = ", ".join(f"{name} {old.weights.get(name, 'unknown')[:8]}" for name in names)
    other = any(old.weights.get(name) != current[name] for name in names)
    kept = [figure for figure in old.full.figures if figure.data.startswith(single_network_comparison.TITLE)]
    if other:
        kept = [figure.model_copy(update={"weights": figure.weights or theirs}) for figure in kept]
    curves = [curve for curve in old.full.curves if curve.data.startswith(single_network_comparison.TITLE)]
    return ScorecardPart(figures=(*now.figures, *kept), curves=(*now.curves, *curves))


def find_drift(card: Scorecard, now: ScorecardPart, current: dict[str, str]) -> list[str]:
    """Find differences from the committed scorecard.

    Figures of the committed scorecard whose data is not available now are not compared.

    Returns:
        One line per difference: other weights, a figure that moved by more than `TOLERANCE`, a figure that the
        committed scorecard lacks.
    """
    found = [
        f"{name}: the scorecard is of other weights" for name in current if card.weights.get(name) != current[name]
    ]
    committed = {figure.key: figure for figure in card.quick.figures}
    for figure in now.figures:
        name = ", ".join(figure.key)
        old = committed.get(figure.key)
        if old is None and figure.seen != "no training":  # a compared package may be installed on this machine only
            found.append(f"{name}: not in the scorecard")
        elif old is not None and abs(old.value - figure.value) > TOLERANCE:
            found.append(f"{name}: {figure.value:.4f}, in the scorecard {old.value:.4f}")
    return found
