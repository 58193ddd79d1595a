"""The scene list for people: a table of every candidate, and the stack of previews with masks (paper, figure 5)."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.table import Table

from s2ops.constants import Float32, Mask, UInt8
from s2ops.errors import InputError
from s2ops.records import Candidate, Decision, SelectRecord

CLOUD_TINT: Final = (226, 60, 48)
CLOUD_OPACITY: Final = 0.45
DISPLAY_GAMMA: Final = 0.7
"""Previews carry ESA's true-colour levels, in which forest is nearly black on a screen."""
COLOURS: Final[dict[Decision, str]] = {"taken": "#1a7f37", "spare": "#9a6700", "left": "#57606a"}
STYLES: Final[dict[Decision, str]] = {"taken": "green", "spare": "yellow", "left": "dim"}
INK, FAINT, PAPER, NO_DATA = "#1f2328", "#57606a", "#ffffff", (225, 228, 232)
MARGIN, CAPTION, HEADER, LEGEND = 14, 66, 62, 36


def ordered(record: SelectRecord) -> list[Candidate]:
    """Candidates as people read them: taken by rank, then spares by rank, then those left, newest first."""
    newest = sorted(record.candidates, key=lambda c: (c.datetime, c.id), reverse=True)
    places: dict[Decision, int] = {"taken": 0, "spare": 1, "left": 2}
    return sorted(newest, key=lambda c: (places[c.decision], c.rank or 0))


def headline(record: SelectRecord) -> str:
    """The result in one line."""
    if record.renewed is not None:
        taken, dropped = len(record.renewed.taken), len(record.renewed.dropped)
        what = f"{taken} newer taken, {dropped} dropped" if taken else "no newer scene improves it: nothing changed"
        return (
            f"refreshed since {record.renewed.since}: {what}; {len(record.selected)} scenes cover "
            f"{100 * record.covered:.2f} % of the tile"
        )
    proof = "proven smallest" if record.status == "optimal" else f"{record.status}, gap {100 * record.gap:.1f} %"
    return (
        f"{len(record.selected)} of {len(record.candidates)} scenes cover {100 * record.covered:.2f} % of the tile; "
        f"all together see {100 * record.coverable:.2f} % ({proof})"
    )


def table(record: SelectRecord) -> Table:
    """Every candidate with its numbers, for a terminal; fits 80 columns. The reasons are `reasons`."""
    shown = Table(title=f"{record.tile}, {record.start} to {record.end}", title_justify="left")
    for heading in ("decision", "scene"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("cloud %", "clear %", "gain %", "haze %", "cost"):
        shown.add_column(heading, justify="right")
    for one in ordered(record):
        shown.add_row(
            badge(one),
            one.id,
            *(f"{100 * part:.2f}" for part in (one.cloud, one.coverage, one.gain)),
            f"{100 * one.haze:.0f}",
            f"{one.cost.total:.2f}",
            style=STYLES[one.decision],
        )
    return shown


def reasons(record: SelectRecord) -> list[str]:
    """A line for each candidate that says why, and for each scene that was not looked at."""
    looked = [f"{badge(one)} {one.id}: {one.reason}" for one in ordered(record)]
    return looked + [f"not looked at {left.id}: {left.reason}" for left in record.left_out]


def badge(candidate: Candidate) -> str:
    """'taken 1', 'spare 2' or 'left'."""
    return f"{candidate.decision} {candidate.rank}" if candidate.rank else candidate.decision


def picture(record: SelectRecord, previews: UInt8) -> Image.Image:
    """All previews with their masks in one grid, the scenes taken first.

    `previews` (candidate, 4, y, x) in the order of `record.candidates`: red, green, blue, mask.
    """
    if previews.shape[:2] != (len(record.candidates), 4):
        raise InputError(
            f"{record.tile}: {len(record.candidates)} candidates, but previews of shape {previews.shape}: "
            "run select again so that both agree"
        )
    height, width = previews.shape[2:]
    columns = max(1, ceil(sqrt(len(previews) * 1.4)))  # a page wider than high
    rows = ceil(len(previews) / columns)
    page_width = max(MARGIN + columns * (width + MARGIN), 2 * width + 3 * MARGIN)
    page_height = HEADER + rows * (height + CAPTION + MARGIN) + LEGEND
    page = Image.new("RGB", (page_width, page_height), PAPER)
    draw = ImageDraw.Draw(page)
    _header(draw, record, page_width)
    places = {one.id: index for index, one in enumerate(record.candidates)}
    for cell, one in enumerate(ordered(record)):
        left = MARGIN + cell % columns * (width + MARGIN)
        top = HEADER + cell // columns * (height + CAPTION + MARGIN)
        page.paste(Image.fromarray(overlay(previews[places[one.id]])), (left, top))
        _caption(draw, one, (left, top), (width, height))
    _legend(draw, page_height - LEGEND)
    return page


def overlay(preview: UInt8) -> UInt8:
    """RGB (y, x, 3) of one preview (red, green, blue, mask; y, x): cloud in translucent red, no data grey."""
    mask, levels = preview[3], np.moveaxis(preview[:3], 0, -1).astype(np.float32)
    image: Float32 = np.power(levels / 255, DISPLAY_GAMMA, dtype=np.float32) * np.float32(255)
    cloud = mask == Mask.CLOUD
    image[cloud] += (np.array(CLOUD_TINT, np.float32) - image[cloud]) * np.float32(CLOUD_OPACITY)
    image[mask == Mask.NODATA] = NO_DATA
    return np.rint(image).astype(np.uint8)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _header(draw: ImageDraw.ImageDraw, record: SelectRecord, width: int) -> None:
    title = f"{record.tile}   {record.start} to {record.end}"
    draw.text((MARGIN, 10), title, INK, _font(20))
    _fit(draw, (MARGIN, 38), headline(record), colour=FAINT, size=14, width=width - 2 * MARGIN)


def _caption(draw: ImageDraw.ImageDraw, one: Candidate, corner: tuple[int, int], size: tuple[int, int]) -> None:
    """Frame, badge, and three lines under the preview: date, figures, scene id."""
    (left, top), (width, height) = corner, size
    colour = COLOURS[one.decision]
    frame = 4 if one.decision == "taken" else 1
    draw.rectangle((left, top, left + width - 1, top + height - 1), outline=colour, width=frame)
    text = badge(one)
    badge_width = draw.textlength(text, _font(16)) + 16
    draw.rectangle((left, top, left + badge_width, top + 25), fill=colour)
    draw.text((left + 8, top + 3), text, PAPER, _font(16))
    below = top + height + 5
    draw.text((left, below), one.date, INK, _font(17))
    gain = "only here" if one.decision == "taken" else "would add"
    figures = f"cloud {100 * one.cloud:.1f} %   haze {100 * one.haze:.0f} %   {gain} {100 * one.gain:.2f} %"
    _fit(draw, (left, below + 22), figures, colour=INK, size=13, width=width)
    _fit(draw, (left, below + 41), one.id, colour=FAINT, size=12, width=width)


def _legend(draw: ImageDraw.ImageDraw, top: int) -> None:
    entries: Sequence[tuple[str | tuple[int, ...], str]] = (
        (COLOURS["taken"], "taken, in the composite's order"),
        (COLOURS["spare"], "spare, in the order tried"),
        (COLOURS["left"], "left"),
        (CLOUD_TINT, "cloud"),
        (NO_DATA, "no data"),
    )
    left = float(MARGIN)
    for colour, text in entries:
        draw.rectangle((left, top + 10, left + 14, top + 24), fill=colour)
        draw.text((left + 20, top + 9), text, FAINT, _font(13))
        left += 20 + draw.textlength(text, _font(13)) + 22


def _fit(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, *, colour: str, size: int, width: int) -> None:
    """Text in the largest size up to `size` that fits; below 9 points its tail is cut."""
    while size > 9 and draw.textlength(text, _font(size)) > width:
        size -= 1
    font = _font(size)
    while draw.textlength(text, font) > width:
        text = text[:-2].rstrip() + "…"
    draw.text(at, text, colour, font)
