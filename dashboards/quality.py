"""The result: what remained cloudy, seams, scenes, classes."""

from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards.panels import Sized, bars, board, lines, number
from dashboards.promql import grown, pace


def _acquired(status: str) -> str:
    return grown("s2ops_tiles_total", "", 'step="acquire"', f'status="{status}"')


def dashboard() -> Dashboard:
    """`s2ops: quality`."""
    return board(
        "s2ops-quality",
        "s2ops: quality",
        "Where do clouds remain, and can seams be seen?",
        {"Cover": _cover(), "Seams": _seams(), "Land cover": _classes()},
    )


def _cover() -> list[Sized]:
    holes = grown("s2ops_hole_megapixels_total", "step")
    pixels = grown("s2ops_megapixels_total", "step", 'step=~"acquire|composite|blend"')
    used = grown("s2ops_scenes_total", "", 'state="used"')
    return [
        bars(
            "Cloud left",
            "Part of the pixels without a clear look: acquire after the tile's own scenes, blend after its neighbours'",
            {"{{step}}": f"{holes} / ({pixels} > 0)"},
            "percentunit",
        ),
        bars("Scenes", "By what became of them", {"{{state}}": grown("s2ops_scenes_total", "state")}, "short"),
        number(
            "Scenes a tile",
            "Used in a mosaic",
            {"used": f"{used} / ({_acquired('done')} > 0)"},
            "short",
            decimals=1,
        ),
        number("Empty tiles", "Without any usable scene", {"empty": _acquired("empty")}, "short"),
    ]


def _seams() -> list[Sized]:
    total, count = (grown(f"s2ops_seam_excess_{part}", "when") for part in ("sum", "count"))
    unseen = grown("s2ops_seam_excess_bucket", "when", 'le="1.2"')
    after = [pace(f"s2ops_seam_excess_{part}", "", "30m", 'when="after"') for part in ("sum", "count")]
    return [
        bars(
            "Seam",
            "Mean step across a tile border over that beside it; 1 is invisible",
            {"{{when}}": f"{total} / {count}"},
            "short",
        ),
        bars(
            "Visible seams",
            "Part of the borders with a step more than 1.2 times that beside them",
            {"{{when}}": f"1 - {unseen} / {count}"},
            "percentunit",
            most=1,
        ),
        lines("Seams over time", "Mean after blending, over half an hour", {"after": " / ".join(after)}, "short"),
    ]


def _classes() -> list[Sized]:
    share = f"{pace('s2ops_class_km2_total', 'class', '30m')} / scalar({pace('s2ops_class_km2_total', '', '30m')})"
    return [
        bars("Classes", "Mapped area, km2", {"{{class}}": grown("s2ops_class_km2_total", "class")}, "short", 12),
        lines(
            "Classes over time",
            "Part of the area mapped in half an hour: a jump that no landscape explains is a fault",
            {"{{class}}": share},
            "percentunit",
            12,
        ),
    ]
