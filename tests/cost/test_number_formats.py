"""Number formats for people."""

import pytest

from s2ops.cost.number_formats import format_exact_duration


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.31, "0.3 s"), (42.4, "42 s"), (200, "3 min 20 s"), (18_720, "5 h 12 min")]
)
def test_format_exact_duration_has_two_units(seconds: float, text: str) -> None:
    assert format_exact_duration(seconds) == text
