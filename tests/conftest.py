"""The order of test files: those that take long come first, so that no processor waits for the other at the end."""

import pytest

LONG = (
    "test_plan_docs.py", "test_chain.py", "test_refresh.py", "test_metrics.py", "test_triton_chain.py", "test_docs.py",
    "test_bad_input.py", "test_triton.py", "test_real.py", "test_groups.py", "test_plan.py", "test_view_browser.py",
    "test_benchmarks.py", "test_seam_goals.py",
)  # fmt: skip
"""From half a minute on (`--durations=0`), the longest first; with `--no-loadscope-reorder` xdist keeps the order."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable, so that tests of a file stay together and in their order."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))
