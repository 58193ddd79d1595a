"""Number formats for people: amounts with units, durations (decimal or exact)."""


def format_amount(value: float, unit: str) -> str:
    """Format a value with its unit; bytes (unit "B") in MB or GB."""
    if unit == "B":
        return f"{value / 1e9:,.2f} GB" if value >= 1e9 else f"{value / 1e6:,.1f} MB"
    return f"{value:,.1f} {unit}".rstrip()


def format_decimal_duration(seconds: float) -> str:
    """Format a duration in its largest unit, such as '48 s', '3.2 min', '5.2 h' or '12.0 days'."""
    for size, name in ((86_400 * 2, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / (86_400 if name == 'days' else size):,.1f} {name}"
    return f"{seconds:.0f} s"


def format_exact_duration(seconds: float) -> str:
    """Format a duration in two units, such as '48 s', '3 min 20 s' or '5 h 12 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
