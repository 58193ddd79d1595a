"""How visible a seam is: the step across a former edge, measured against the picture beside it (docs/explanation/seams.md).

A line is followed pixel by pixel, and what lies across it is taken out as a strip: (band, along, across), the line in
the middle. The same difference taken at parallel lines some pixels further, on both sides, says what the landscape
itself does. Their quotient is 1 where nothing tells the line from any other.
"""

from dataclasses import asdict, dataclass
from typing import Final, Self

import numpy as np

from s2ops.constants import Bool, Float32, Float64, Int64, UInt8
from s2ops.errors import RasterError

REACH: Final = 24
"""Pixels of the strip on each side of the line."""

LAG: Final = 2
"""A difference is taken between the pixels this far on either side of a line: past the soft edge of resampling."""

CONTROLS: Final = (-20, -16, -12, -8, 8, 12, 16, 20)
"""Where the parallel lines run, in pixels from the edge: near enough for the same landscape, clear of the edge."""

RUN: Final = 16
"""Pixels along the line that are averaged before the coherent step is taken: texture averages out, a seam does not."""

MIN_PIXELS: Final = 64
"""Fewer complete positions along the line say nothing."""

_LEAST: Final = 0.25
"""Levels: differences are never counted as smaller than this quantisation noise, so flat water gives no 0 / 0."""


@dataclass(frozen=True, slots=True)
class Seam:
    """The figures of one edge."""

    excess: float
    """Mean absolute step across the edge over that across the control lines: 1 is invisible."""
    coherent: float
    """The same for steps averaged over runs of 16 pixels: what the eye follows as a line."""
    energy: float
    """Mean squared step over that across the control lines (gradient energy)."""
    step: tuple[float, ...]
    """Signed mean step per band in levels, right of the line's direction minus left, the landscape's own taken off."""
    pixels: int
    """Positions along the edge that were complete."""

    def to_json(self) -> dict[str, object]:
        """Fields as plain values."""
        return asdict(self) | {"step": list(self.step)}


@dataclass(frozen=True)
class EdgeLine:
    """The pixels across a line, found once; its strip may then be gathered from row slabs in any order."""

    rows: Int64
    """(along, 2 * REACH)."""
    cols: Int64
    """(along, 2 * REACH), left of the line's direction first."""

    @classmethod
    def along(cls, points: Float64) -> Self:
        """From a polyline (n, 2) of y, x in pixels from the raster's upper left corner (pixel 0's centre is 0.5).

        The line runs between pixels where it is axis-parallel at a whole number, as tile borders on aligned grids do;
        else the nearest pixels are taken. Raises RasterError for fewer than two points.
        """
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
            raise RasterError(f"an edge of shape {points.shape} is no line; give two or more points (y, x)")
        steps = np.diff(points, axis=0)
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        position = np.arange(0.5, lengths.sum(), 1.0)
        part = np.minimum(np.searchsorted(np.cumsum(lengths), position, side="right"), len(steps) - 1)
        unit = steps[part] / lengths[part, None]
        start = points[part] + unit * (position - (np.cumsum(lengths) - lengths)[part])[:, None]
        right = np.stack([unit[:, 1], -unit[:, 0]], axis=1)  # y points down: (dy, dx) turned to the right
        offsets = np.arange(-REACH, REACH) + 0.5
        places = start[:, None, :] + right[:, None, :] * offsets[None, :, None]
        whole = np.floor(places).astype(np.int64)
        return cls(whole[..., 0], whole[..., 1])

    def empty(self, bands: int = 4) -> UInt8:
        """A strip without data: (band, along, across)."""
        return np.zeros((bands, *self.rows.shape), np.uint8)

    def along_in(self, rows: slice) -> slice:
        """The positions along the line, from the first to the last, of which a pixel lies in those rows."""
        reached = np.flatnonzero(((self.rows >= rows.start) & (self.rows < rows.stop)).any(axis=1))
        return slice(int(reached[0]), int(reached[-1]) + 1) if reached.size else slice(0, 0)

    def cut(self, along: slice) -> Self:
        """A part of the line."""
        return type(self)(self.rows[along], self.cols[along])

    def rows_in(self, rows: slice, cols: slice) -> slice | None:
        """Those of the window's rows that hold pixels of the line; None where none does."""
        reached = self.rows[self._inside(rows, cols)]
        return slice(int(reached.min()), int(reached.max()) + 1) if reached.size else None

    def gather(self, image: UInt8, strip: UInt8, top: int = 0, left: int = 0) -> None:
        """Fill into `strip` what a (band, y, x) part of the raster shows of it, from row `top` and column `left` on.

        0 is no data.
        """
        height, width = image.shape[1:]
        inside = self._inside(slice(top, top + height), slice(left, left + width))
        strip[:, inside] = image[:, self.rows[inside] - top, self.cols[inside] - left]

    def _inside(self, rows: slice, cols: slice) -> Bool:
        """(along, 2 * REACH)."""
        found: Bool = (self.rows >= rows.start) & (self.rows < rows.stop)
        found &= (self.cols >= cols.start) & (self.cols < cols.stop)
        return found

    def strip(self, image: UInt8) -> UInt8:
        """The strip from a whole (band, y, x) image."""
        out = self.empty(image.shape[0])
        self.gather(image, out)
        return out


def hard_edge(inner: UInt8, outer: UInt8) -> UInt8:
    """The picture without any blending: (band, y, x) `inner` where it shows something, elsewhere `outer`."""
    return np.where((inner != 0).all(axis=0), inner, outer)


def measure(strip: UInt8, minimum: int = MIN_PIXELS) -> Seam | None:
    """The figures of an edge from its (band, along, across) strip; None where too few positions are complete."""
    if strip.ndim != 3 or strip.shape[2] != 2 * REACH:
        raise RasterError(f"a strip of shape {strip.shape} is not (band, along, {2 * REACH}); take it with EdgeLine")
    complete = (strip != 0).all(axis=(0, 2))
    pixels = int(complete.sum())
    if pixels < minimum:
        return None
    kept = strip[:, complete]
    edge = _steps(kept, 0)
    controls = np.stack([_steps(kept, shift) for shift in CONTROLS])
    step = edge.mean(axis=1) - controls.mean(axis=(0, 2))
    return Seam(
        excess=_quotient(np.abs(edge).mean(), np.abs(controls).mean()),
        coherent=_quotient(np.abs(_run_means(edge)).mean(), np.abs(_run_means(controls)).mean()),
        energy=_quotient((edge**2).mean(), (controls**2).mean()),
        step=tuple(round(float(value), 3) for value in step),
        pixels=pixels,
    )


def _steps(strip: UInt8, shift: int) -> Float32:
    """(band, along) signed difference across the line `shift` pixels right of the edge.

    A road or a roof on the line is no seam: in each band the largest 2 % count as no more than the rest.
    """
    middle = REACH + shift
    right, left = strip[:, :, middle + LAG - 1], strip[:, :, middle - LAG]
    steps = right.astype(np.float32) - left.astype(np.float32)
    most = np.quantile(np.abs(steps), 0.98, axis=1, keepdims=True).astype(np.float32)
    out: Float32 = np.clip(steps, -most, most)
    return out


def _run_means(steps: Float32) -> Float32:
    """Means over whole runs of RUN positions: (..., along) -> (..., run)."""
    count = steps.shape[-1] // RUN
    runs = steps[..., : count * RUN].reshape(*steps.shape[:-1], count, RUN)
    out: Float32 = runs.mean(axis=-1)
    return out


def _quotient(edge: float, control: float) -> float:
    return round(max(float(edge), _LEAST) / max(float(control), _LEAST), 4)
