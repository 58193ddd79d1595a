"""The few shapes of PromQL that the panels are made of; `also` are further matchers such as 'step="blend"'."""

from typing import Final

MINE: Final = 'namespace=~"$namespace"'
"""Selects the chosen namespaces; a run on one machine has none, which `.*` takes in."""


def series(metric: str, *also: str) -> str:
    """The metric in the chosen namespaces."""
    return f"{metric}{{{','.join((MINE, *also))}}}"


def now(metric: str, by: str, *also: str) -> str:
    """A gauge, summed; `by` may be empty."""
    return f"{_sum(by)} ({series(metric, *also)})"


def grown(metric: str, by: str, *also: str) -> str:
    """By how much a counter grew in the time shown; `by` may be empty."""
    return f"{_sum(by)} (increase({series(metric, *also)}[$__range]))"


def reached(metric: str, by: str, *also: str) -> str:
    """What a counter came to in the time shown, also where its process has ended since.

    For series that begin with their first event, which `grown` would not see.
    """
    return f"{_sum(by)} (max_over_time({series(metric, *also)}[$__range]))"


def pace(metric: str, by: str, over: str, *also: str) -> str:
    """How much a counter grows a second, over a time such as 10m; `by` may be empty."""
    return f"{_sum(by)} (rate({series(metric, *also)}[{over}]))"


def speed(counter: str, at_work: str, by: str, over: str) -> str:
    """How much a counter grows a second since the gauge `at_work` was last found above 0, within `over` at most.

    Unlike `pace` it is right from the first minute on: it divides by the time that there was work, not by `over`.
    """
    return f"{_sum(by)} (increase({series(counter)}[{over}])) / {at_work_for(at_work, by, over)}"


def at_work_for(gauge: str, by: str, over: str) -> str:
    """Seconds since the gauge was first above 0, within `over`."""
    begun = f"min_over_time((time() + 0 * ({now(gauge, by)} > 0))[{over}:10s])"
    return f"clamp_min(time() - {begun}, 1)"


def quantile(part: float, histogram: str, by: str, over: str) -> str:
    """The value that `part` of a histogram's observations stay below."""
    return f"histogram_quantile({part}, {pace(f'{histogram}_bucket', f'{by}, le', over)})"


def median_and_tail(histogram: str, by: str, over: str) -> dict[str, str]:
    """Two queries with their legends."""
    return {
        f"{{{{{by}}}}} {name}": quantile(part, histogram, by, over) for name, part in (("median", 0.5), ("95 %", 0.95))
    }


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
