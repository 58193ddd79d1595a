"""Dashboard of quality: remaining clouds, seams, scenes, classes."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import SizedPanel, build_bars, build_board, build_number, build_time_series
from dashboards.promql import sum_increase, sum_rate


def _sum_acquired(status: str) -> str:
    return sum_increase("s2ops_tiles_total", "", 'step="acquire"', f'status="{status}"')


def build_dashboard() -> Dashboard:
    """Build the dashboard `s2ops: quality`."""
    return build_board(
        "s2ops-quality",
        "s2ops: quality",
        "Where do clouds remain, and can seams be seen?",
        {"Cover": _cover(), "Seams": _build_seam_panels(), "Land cover": _build_class_panels()},
    )


def _cover() -> list[SizedPanel]:
    holes = sum_increase("s2ops_hole_megapixels_total", "step")
    pixels = sum_increase("s2ops_megapixels_total", "step", 'step=~"acquire|composite|blend"')
    used = sum_increase("s2ops_scenes_total", "", 'state="used"')
    return [
        build_bars(
            "Cloud left",
            "Part of the pixels without a clear look: acquire after the tile's own scenes, blend after its neighbours'",
            {"{{step}}": f"{holes} / ({pixels} > 0)"},
            "percentunit",
        ),
        build_bars(
            "Scenes", "By what became of them", {"{{state}}": sum_increase("s2ops_scenes_total", "state")}, "short"
        ),
        build_number(
            "Scenes a tile",
            "Used in a mosaic",
            {"used": f"{used} / ({_sum_acquired('done')} > 0)"},
            "short",
            decimals=1,
        ),
        build_number("Empty tiles", "Without any usable scene", {"empty": _sum_acquired("empty")}, "short"),
    ]


def _build_seam_panels() -> list[SizedPanel]:
    total, count = (sum_increase(f"s2ops_seam_excess_{part}", "when") for part in ("sum", "count"))
    unseen = sum_increase("s2ops_seam_excess_bucket", "when", 'le="1.2"')
    after = [sum_rate(f"s2ops_seam_excess_{part}", "", "30m", 'when="after"') for part in ("sum", "count")]
    return [
        build_bars(
            "Seam",
            "Mean step across a tile border over that beside it; 1 is invisible",
            {"{{when}}": f"{total} / {count}"},
            "short",
        ),
        build_bars(
            "Visible seams",
            "Part of the borders with a step more than 1.2 times that beside them",
            {"{{when}}": f"1 - {unseen} / {count}"},
            "percentunit",
            most=1,
        ),
        build_time_series(
            "Seams over time", "Mean after blending, over half an hour", {"after": " / ".join(after)}, "short"
        ),
    ]


def _build_class_panels() -> list[SizedPanel]:
    share = (
        f"{sum_rate('s2ops_class_km2_total', 'class', '30m')} / scalar({sum_rate('s2ops_class_km2_total', '', '30m')})"
    )
    return [
        build_bars(
            "Classes", "Mapped area, km2", {"{{class}}": sum_increase("s2ops_class_km2_total", "class")}, "short", 12
        ),
        build_time_series(
            "Classes over time",
            "Part of the area mapped in half an hour: a jump that no landscape explains is a fault",
            {"{{class}}": share},
            "percentunit",
            12,
        ),
    ]
