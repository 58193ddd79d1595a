"""PromQL expressions of the panels; `also` are additional matchers such as 'step="blend"'."""

from typing import Final

MINE: Final = 'namespace=~"$namespace"'
"""Matcher for the chosen namespaces; a run on one machine has no namespace, which `.*` matches."""


def select_series(metric: str, *also: str) -> str:
    """Return a selector of the metric in the chosen namespaces."""
    return f"{metric}{{{','.join((MINE, *also))}}}"


def sum_gauge(metric: str, by: str, *also: str) -> str:
    """Return the sum of a gauge; `by` may be empty."""
    return f"{_sum(by)} ({select_series(metric, *also)})"


def sum_increase(metric: str, by: str, *also: str) -> str:
    """Return the increase of a counter over the time range; `by` may be empty."""
    return f"{_sum(by)} (increase({select_series(metric, *also)}[$__range]))"


def sum_counter_total(metric: str, by: str, *also: str) -> str:
    """Return the highest value of a counter in the time range, also if its process has ended.

    For series that begin with their first event, which `sum_increase` would miss.
    """
    return f"{_sum(by)} (max_over_time({select_series(metric, *also)}[$__range]))"


def sum_rate(metric: str, by: str, over: str, *also: str) -> str:
    """Return the rate of a counter per second over a window such as 10m; `by` may be empty."""
    return f"{_sum(by)} (rate({select_series(metric, *also)}[{over}]))"


def divide_by_active_seconds(counter: str, at_work: str, by: str, over: str) -> str:
    """Return the rate of a counter per second since the gauge `at_work` was first above 0, within `over`.

    Unlike `sum_rate` it is correct from the first minute on: it divides by the time with work, not by `over`.
    """
    return f"{_sum(by)} (increase({select_series(counter)}[{over}])) / {compute_active_seconds(at_work, by, over)}"


def compute_active_seconds(gauge: str, by: str, over: str) -> str:
    """Return the seconds since the gauge was first above 0, within `over`."""
    begun = f"min_over_time((time() + 0 * ({sum_gauge(gauge, by)} > 0))[{over}:10s])"
    return f"clamp_min(time() - {begun}, 1)"


def estimate_quantile(part: float, histogram: str, by: str, over: str) -> str:
    """Return the quantile `part` (0 to 1) of a histogram."""
    return f"histogram_quantile({part}, {sum_rate(f'{histogram}_bucket', f'{by}, le', over)})"


def build_median_and_tail(histogram: str, by: str, over: str) -> dict[str, str]:
    """Return queries for median and 95th percentile by legend."""
    return {
        f"{{{{{by}}}}} {name}": estimate_quantile(part, histogram, by, over)
        for name, part in (("median", 0.5), ("95 %", 0.95))
    }


def _sum(by: str) -> str:
    return f"sum by ({by})" if by else "sum"
