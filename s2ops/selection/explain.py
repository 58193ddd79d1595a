"""Explanation of a scene selection: table of all candidates, contact sheet of previews with cloud masks."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

from s2ops.constants import Float32, Mask, UInt8
from s2ops.errors import InputError
from s2ops.records import DECISION_LABELS, Candidate, Decision, SelectRecord

CLOUD_COLOUR: Final = (226, 60, 48)
CLOUD_OPACITY: Final = 0.45
DISPLAY_GAMMA: Final = 0.7
"""Exponent that brightens ESA's true-colour levels, in which forest is nearly black on a screen."""
DECISION_COLOURS: Final[dict[Decision, str]] = {"taken": "#1a7f37", "spare": "#9a6700", "left": "#57606a"}
TERMINAL_STYLES: Final[dict[Decision, str]] = {"taken": "green", "spare": "yellow", "left": "dim"}
TEXT_COLOUR, MUTED_COLOUR, PAGE_COLOUR, NODATA_COLOUR = "#1f2328", "#57606a", "#ffffff", (225, 228, 232)
MARGIN_PX, CAPTION_PX, HEADER_PX, LEGEND_PX = 14, 66, 62, 36


def sort_candidates(record: SelectRecord) -> list[Candidate]:
    """Sort candidates for display: selected scenes by rank, fallbacks by rank, then rejected scenes, newest first."""
    newest = sorted(record.candidates, key=lambda c: (c.datetime, c.id), reverse=True)
    places: dict[Decision, int] = {"taken": 0, "spare": 1, "left": 2}
    return sorted(newest, key=lambda c: (places[c.decision], c.rank or 0))


def format_headline(record: SelectRecord) -> str:
    """Format the result in one line."""
    if record.renewed is not None:
        taken, dropped = len(record.renewed.taken), len(record.renewed.dropped)
        what = f"{taken} newer scenes added, {dropped} dropped" if taken else "no newer scene improves the tile"
        return (
            f"refreshed since {record.renewed.since}: {what}; {len(record.selected)} scenes cover "
            f"{100 * record.covered:.2f} % of the tile"
        )
    proof = "proven optimal" if record.status == "optimal" else f"{record.status}, gap {100 * record.gap:.1f} %"
    return (
        f"{len(record.selected)} of {len(record.candidates)} scenes cover {100 * record.covered:.2f} % of the tile; "
        f"all candidates together cover {100 * record.coverable:.2f} % ({proof})"
    )


def build_table(record: SelectRecord) -> Table:
    """Build a table of all candidates with their numbers for a terminal of 80 columns; it omits the reasons."""
    shown = Table(title=f"{record.tile}, {record.start} to {record.end}", title_justify="left")
    for heading in ("decision", "scene"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("cloud %", "clear %", "gain %", "haze %", "cost"):
        shown.add_column(heading, justify="right")
    for one in sort_candidates(record):
        shown.add_row(
            format_badge(one),
            one.id,
            *(f"{100 * part:.2f}" for part in (one.cloud, one.coverage, one.gain)),
            f"{100 * one.haze:.0f}",
            f"{one.cost.total:.2f}",
            style=TERMINAL_STYLES[one.decision],
        )
    return shown


def list_reasons(record: SelectRecord) -> list[str]:
    """List the reason for each candidate, then for each scene whose preview was not used; one line per scene."""
    reasons = [f"{format_badge(one)} {one.id}: {one.reason}" for one in sort_candidates(record)]
    return reasons + [f"not a candidate {left.id}: {left.reason}" for left in record.left_out]


def format_badge(candidate: Candidate) -> str:
    """Format a decision with its rank: 'selected 1', 'fallback 2' or 'rejected'."""
    label = DECISION_LABELS[candidate.decision]
    return f"{label} {candidate.rank}" if candidate.rank else label


def draw_previews(record: SelectRecord, previews: UInt8) -> Image.Image:
    """Draw all previews with their masks on one page, selected scenes first.

    Args:
        record: Scene list of the tile.
        previews: (candidate, 4, y, x) uint8 in the order of `record.candidates`: red, green, blue, mask.

    Raises:
        InputError: If the number of previews differs from the number of candidates.
    """
    if previews.shape[:2] != (len(record.candidates), 4):
        raise InputError(
            f"Cannot draw the previews of {record.tile}: the record has {len(record.candidates)} candidates, but the "
            f"previews have the shape {previews.shape}; run select again so that both agree."
        )
    height, width = previews.shape[2:]
    columns = max(1, ceil(sqrt(len(previews) * 1.4)))  # makes the page wider than high
    rows = ceil(len(previews) / columns)
    page_width = max(MARGIN_PX + columns * (width + MARGIN_PX), 2 * width + 3 * MARGIN_PX)
    page_height = HEADER_PX + rows * (height + CAPTION_PX + MARGIN_PX) + LEGEND_PX
    page = Image.new("RGB", (page_width, page_height), PAGE_COLOUR)
    draw = ImageDraw.Draw(page)
    _draw_header(draw, record, page_width)
    places = {one.id: index for index, one in enumerate(record.candidates)}
    for cell, one in enumerate(sort_candidates(record)):
        left = MARGIN_PX + cell % columns * (width + MARGIN_PX)
        top = HEADER_PX + cell // columns * (height + CAPTION_PX + MARGIN_PX)
        page.paste(Image.fromarray(draw_mask_overlay(previews[places[one.id]])), (left, top))
        _draw_caption(draw, one, (left, top), (width, height))
    _draw_legend(draw, page_height - LEGEND_PX)
    return page


def draw_mask_overlay(preview: UInt8) -> UInt8:
    """Draw one preview: clouds in translucent red, no data in grey.

    Args:
        preview: (4, y, x) uint8: red, green, blue, mask (codes of `Mask`).

    Returns:
        RGB image (y, x, 3), uint8.
    """
    mask, levels = preview[3], np.moveaxis(preview[:3], 0, -1).astype(np.float32)
    image: Float32 = np.power(levels / 255, DISPLAY_GAMMA, dtype=np.float32) * np.float32(255)
    cloud = mask == Mask.CLOUD
    image[cloud] += (np.array(CLOUD_COLOUR, np.float32) - image[cloud]) * np.float32(CLOUD_OPACITY)
    image[mask == Mask.NODATA] = NODATA_COLOUR
    return np.rint(image).astype(np.uint8)


def _load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _draw_header(draw: ImageDraw.ImageDraw, record: SelectRecord, width: int) -> None:
    title = f"{record.tile}   {record.start} to {record.end}"
    draw.text((MARGIN_PX, 10), title, TEXT_COLOUR, _load_font(20))
    _draw_fitted_text(
        draw, (MARGIN_PX, 38), format_headline(record), colour=MUTED_COLOUR, size=14, width=width - 2 * MARGIN_PX
    )


def _draw_caption(draw: ImageDraw.ImageDraw, one: Candidate, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Draw frame, decision, and three lines below the preview: date, figures, scene id."""
    (left, top), (width, height) = corner, size
    colour = DECISION_COLOURS[one.decision]
    frame = 4 if one.decision == "taken" else 1
    draw.rectangle((left, top, left + width - 1, top + height - 1), outline=colour, width=frame)
    text = format_badge(one)
    badge_width = draw.textlength(text, _load_font(16)) + 16
    draw.rectangle((left, top, left + badge_width, top + 25), fill=colour)
    draw.text((left + 8, top + 3), text, PAGE_COLOUR, _load_font(16))
    below = top + height + 5
    draw.text((left, below), one.date, TEXT_COLOUR, _load_font(17))
    gain = "only here" if one.decision == "taken" else "would add"
    figures = f"cloud {100 * one.cloud:.1f} %   haze {100 * one.haze:.0f} %   {gain} {100 * one.gain:.2f} %"
    _draw_fitted_text(draw, (left, below + 22), figures, colour=TEXT_COLOUR, size=13, width=width)
    _draw_fitted_text(draw, (left, below + 41), one.id, colour=MUTED_COLOUR, size=12, width=width)


def _draw_legend(draw: ImageDraw.ImageDraw, top: int) -> None:
    entries: Sequence[tuple[str | tuple[int, ...], str]] = (
        (DECISION_COLOURS["taken"], "selected, in composite order"),
        (DECISION_COLOURS["spare"], "fallback, in order of use"),
        (DECISION_COLOURS["left"], "rejected"),
        (CLOUD_COLOUR, "cloud"),
        (NODATA_COLOUR, "no data"),
    )
    left = float(MARGIN_PX)
    for colour, text in entries:
        draw.rectangle((left, top + 10, left + 14, top + 24), fill=colour)
        draw.text((left + 20, top + 9), text, MUTED_COLOUR, _load_font(13))
        left += 20 + draw.textlength(text, _load_font(13)) + 22


def _draw_fitted_text(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, *, colour: str, size: int, width: int
) -> None:
    """Draw text in the largest font size up to `size` that fits; at 9 points, cut the end of the text."""
    while size > 9 and draw.textlength(text, _load_font(size)) > width:
        size -= 1
    font = _load_font(size)
    while draw.textlength(text, font) > width:
        text = text[:-2].rstrip() + "…"
    draw.text(at, text, colour, font)
