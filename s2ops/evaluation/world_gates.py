"""Targets and gates of the world checks (acceptance thresholds), in one table.

A *target* is the goal; the scorecard prints whether the shipped weights meet it. A *gate* is the threshold below (or
above) which a test fails; raise it when better weights hold it with a margin.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from s2ops.evaluation.accuracy import Figure

WORLD: Final = "world"
"""Name of the section of the scorecard with the world checks, in place of a network."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Target and gate of one figure of the world checks."""

    data: str
    score: str
    target: float | None
    """Goal; None if the figure is told without a goal, since no truth is known."""
    gate: float
    at_most: bool = False
    """True if the value must not exceed both thresholds; otherwise it must reach them."""
    within_interval: bool = False
    """True if the target counts as met where the 95 % interval reaches it."""

    def is_met(self, figure: Figure) -> bool | None:
        """Return True if the figure meets the target; None without a target."""
        if self.target is None:
            return None
        bound = figure.low if self.at_most else figure.high
        value = bound if self.within_interval and bound is not None else figure.value
        return value <= self.target if self.at_most else value >= self.target

    def is_within_gate(self, figure: Figure) -> bool:
        """Return True if the figure passes the gate."""
        return figure.value <= self.gate if self.at_most else figure.value >= self.gate

    def format_target(self) -> str:
        """Format the target, such as '>= 0.99', or '-' without a target."""
        return "-" if self.target is None else f"{'<=' if self.at_most else '>='} {self.target:g}"

    def format_status(self, figure: Figure) -> str:
        """Format the status of a figure: met, missed, or '-' without a target."""
        return {True: "met", False: "missed", None: "-"}[self.is_met(figure)]


GATES: Final[tuple[Gate, ...]] = (
    Gate("Virginia, open sea, L1C", "water", target=0.99, gate=0.98),
    Gate("Virginia, open sea, path reflectance subtracted", "water", target=0.99, gate=0.98),
    Gate("Western Australia, open sea", "water", target=0.99, gate=0.98),
    Gate("Virginia, narrow water, NDWI > 0.1", "water", target=0.95, gate=0.95),
    Gate("Virginia, land with NDVI < 0.35", "tree", target=0.01, gate=0.14, at_most=True),
    Gate("dry hills (spyndex), land with NDVI < 0.35", "tree", target=0.01, gate=0.02, at_most=True),
    Gate("Patagonia, land with NDVI < 0.35", "tree", target=0.01, gate=0.01, at_most=True),
    Gate("Boadella, 12 dates, land always with NDVI < 0.35", "tree", target=0.01, gate=0.05, at_most=True),
    Gate("Boadella, 12 dates, land always with NDVI < 0.45", "tree", target=0.1, gate=0.1, at_most=True),
    Gate("Boadella, 12 dates, land with mean NDVI < 0.45", "tree", target=0.1, gate=0.25, at_most=True),
    Gate("Boadella, 12 dates, all land", "tree", target=None, gate=1.0, at_most=True),
    Gate("Virginia, beach", "barren", target=0.9, gate=0.86),
    Gate("Western Australia, land with NDVI < 0.2", "barren", target=0.95, gate=0.95),
    Gate("Belgium, fields while NDVI < 0.3", "barren", target=0.97, gate=0.96),
    Gate("Belgium, fields while NDVI > 0.6", "grass", target=0.9, gate=0.9),
    Gate("EuroSAT, river chips, 10 m, NDWI > 0.1", "water", target=0.99, gate=0.98),
    Gate("EuroSAT, river chips, 10 m, not in training, NDWI > 0.1", "water", target=0.99, gate=0.98),
    Gate("EuroSAT, river chips, 30 m, NDWI > 0.1", "water", target=0.99, gate=0.98),
    Gate("EuroSAT, residential chips, built pixels", "residential", target=0.98, gate=0.97),
    Gate("EuroSAT, industrial chips, built pixels", "industrial", target=0.98, gate=0.97),
    Gate("Patagonia with simulated snow patches", "built", target=0.01, gate=0.05, at_most=True),
    Gate("Patagonia, rock between simulated snow patches", "barren", target=0.9, gate=0.4),
    Gate("three clear scenes at dusk", "confidence above 50", target=0.0, gate=0.0, at_most=True),
    Gate("Virginia, windows shifted, 10 m", "changed, all pixels", target=0.005, gate=0.02, at_most=True),
    Gate("Virginia, windows shifted, 10 m", "changed, built pixels", target=0.02, gate=0.55, at_most=True),
    Gate("Zagreb, windows shifted, 120 m", "changed, all pixels", target=0.005, gate=0.035, at_most=True),
    Gate("Zagreb, windows shifted, 120 m", "changed, built pixels", target=0.02, gate=0.22, at_most=True),
    Gate(
        "Exeter, four dates minus the best single date",
        "overall accuracy",
        target=0.0,
        gate=-0.02,
        within_interval=True,
    ),
    Gate("Exeter, four dates minus the best single date", "macro F1", target=0.0, gate=-0.1, within_interval=True),
    Gate("Boadella, 12 dates minus the best single date", "F1 water", target=0.0, gate=-0.005, within_interval=True),
    Gate("Exeter, four dates", "error of the confidence", target=0.05, gate=0.05, at_most=True),
    Gate("Zurich, one cloudy date", "error of the confidence", target=0.05, gate=0.05, at_most=True),
)
"""Thresholds of every figure of the world checks."""


def find_gate(figure: Figure) -> Gate:
    """Find the gate of a figure. Raises LookupError if the table lacks it."""
    found = next((gate for gate in GATES if (gate.data, gate.score) == (figure.data, figure.score)), None)
    if found is None:
        raise LookupError(f"No gate for {figure.data}, {figure.score}: add it to GATES.")
    return found


def find_missing_figures(figures: Iterable[Figure]) -> list[str]:
    """Find the gates that no figure belongs to: 'data, score' of each."""
    found = {(figure.data, figure.score) for figure in figures}
    return [f"{gate.data}, {gate.score}" for gate in GATES if (gate.data, gate.score) not in found]


def format_checks(figures: Iterable[Figure]) -> list[str]:
    """Format the figures of the world checks for a terminal, one line each, with target, gate and status."""
    return [_format_check(figure, find_gate(figure)) for figure in figures]


def _format_check(figure: Figure, gate: Gate) -> str:
    """Format one figure; figures that do not pass their gate are marked."""
    status = gate.format_status(figure) if gate.is_within_gate(figure) else "BELOW GATE"
    return (
        f"{status:10} {figure.value:7.4f} (target {gate.format_target()}, gate {gate.gate:g}) {figure.data}: "
        f"{figure.score}, {figure.pixels:,} px"
    )
