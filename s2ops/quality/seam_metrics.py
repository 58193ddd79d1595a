"""Seam visibility (edge contrast, seam metric) along a former tile edge (docs/explanation/seams.md).

The pixels across a line are extracted as a strip `(band, along, across)` with the line in the middle. The step across
the line is compared with the steps across parallel control lines some pixels away on both sides, which measure the
contrast of the landscape. The ratio is 1 if the line cannot be distinguished from the landscape.
"""

from dataclasses import asdict, dataclass
from typing import Final, Self

import numpy as np

from s2ops.constants import Bool, Float32, Float64, Int64, UInt8
from s2ops.errors import RasterError

STRIP_HALF_WIDTH_PX: Final = 24
"""Pixels of a strip on each side of the line."""

STEP_LAG_PX: Final = 2
"""Distance in pixels from the line at which a step is measured: beyond the edge softened by resampling."""

CONTROL_OFFSETS_PX: Final = (-20, -16, -12, -8, 8, 12, 16, 20)
"""Offsets of the control lines from the edge: near enough for the same landscape, far enough not to touch the edge."""

RUN_LENGTH_PX: Final = 16
"""Pixels along the line that are averaged for the coherent step: texture averages out, a seam does not."""

MIN_PIXELS: Final = 64
"""Minimum number of complete positions along the line for a metric."""

_MIN_DIFFERENCE_LEVELS: Final = 0.25
"""Lower bound of a mean difference in levels (quantization noise): avoids 0 / 0 over flat water."""


@dataclass(frozen=True, slots=True)
class SeamMetrics:
    """Seam metrics of one edge."""

    excess: float
    """Mean absolute step across the edge, divided by that across the control lines: 1 is invisible."""
    coherent: float
    """Same ratio for steps averaged over runs of 16 pixels: contrast that is seen as a line."""
    energy: float
    """Mean squared step across the edge, divided by that across the control lines (gradient energy)."""
    step: tuple[float, ...]
    """Mean signed step per band in levels (right of the line minus left), minus that across the control lines."""
    pixels: int
    """Number of positions along the edge where the whole strip has data."""

    def to_json(self) -> dict[str, object]:
        """Return the fields as plain values."""
        return asdict(self) | {"step": list(self.step)}


@dataclass(frozen=True)
class EdgeLine:
    """Pixel indices of the strip along a line, computed once. Windows may fill the strip in any order."""

    rows: Int64
    """Row indices `(along, 2 * STRIP_HALF_WIDTH_PX)`."""
    cols: Int64
    """Column indices `(along, 2 * STRIP_HALF_WIDTH_PX)`; the pixel farthest to the left of the line comes first."""

    @classmethod
    def from_polyline(cls, points: Float64) -> Self:
        """Sample the pixels across a polyline, one position per pixel of its length.

        An axis-parallel line at a whole number runs between pixels, as tile borders on aligned grids do. Otherwise the
        nearest pixels are used.

        Args:
            points: Vertices `(n, 2)` as (y, x) in pixels from the upper left corner; the centre of pixel 0 is 0.5.

        Raises:
            RasterError: If there are fewer than two points.
        """
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
            raise RasterError(
                f"The edge is not a line: its points have shape {points.shape}; give two or more points (y, x)."
            )
        steps = np.diff(points, axis=0)
        lengths = np.hypot(steps[:, 0], steps[:, 1])
        position = np.arange(0.5, lengths.sum(), 1.0)
        part = np.minimum(np.searchsorted(np.cumsum(lengths), position, side="right"), len(steps) - 1)
        unit = steps[part] / lengths[part, None]
        start = points[part] + unit * (position - (np.cumsum(lengths) - lengths)[part])[:, None]
        right = np.stack([unit[:, 1], -unit[:, 0]], axis=1)  # y points down: (dy, dx) turned to the right
        offsets = np.arange(-STRIP_HALF_WIDTH_PX, STRIP_HALF_WIDTH_PX) + 0.5
        places = start[:, None, :] + right[:, None, :] * offsets[None, :, None]
        whole = np.floor(places).astype(np.int64)
        return cls(whole[..., 0], whole[..., 1])

    def allocate_strip(self, bands: int = 4) -> UInt8:
        """Allocate a strip without data: `(band, along, across)`."""
        return np.zeros((bands, *self.rows.shape), np.uint8)

    def find_positions(self, rows: slice) -> slice:
        """Find the positions along the line, from first to last, that have a pixel in the given rows."""
        reached = np.flatnonzero(((self.rows >= rows.start) & (self.rows < rows.stop)).any(axis=1))
        return slice(int(reached[0]), int(reached[-1]) + 1) if reached.size else slice(0, 0)

    def crop(self, along: slice) -> Self:
        """Return the given positions of the line."""
        return type(self)(self.rows[along], self.cols[along])

    def find_rows(self, rows: slice, cols: slice) -> slice | None:
        """Find the rows of a window that contain pixels of the strip; None if there are none."""
        reached = self.rows[self._is_inside(rows, cols)]
        return slice(int(reached.min()), int(reached.max()) + 1) if reached.size else None

    def gather(self, image: UInt8, strip: UInt8, top: int = 0, left: int = 0) -> None:
        """Fill the pixels of a strip that a part of the raster contains.

        Args:
            image: Levels `(band, y, x)` of the part; 0 is no data.
            strip: Strip `(band, along, across)` that is filled in place.
            top: First row of the part in the raster.
            left: First column of the part in the raster.
        """
        height, width = image.shape[1:]
        inside = self._is_inside(slice(top, top + height), slice(left, left + width))
        strip[:, inside] = image[:, self.rows[inside] - top, self.cols[inside] - left]

    def _is_inside(self, rows: slice, cols: slice) -> Bool:
        """Return which pixels of the strip lie in a window: `(along, 2 * STRIP_HALF_WIDTH_PX)`."""
        found: Bool = (self.rows >= rows.start) & (self.rows < rows.stop)
        found &= (self.cols >= cols.start) & (self.cols < cols.stop)
        return found

    def extract_strip(self, image: UInt8) -> UInt8:
        """Extract the strip `(band, along, across)` from a whole image `(band, y, x)`."""
        out = self.allocate_strip(image.shape[0])
        self.gather(image, out)
        return out


def overlay_without_blending(inner: UInt8, outer: UInt8) -> UInt8:
    """Overlay `inner` on `outer` with a hard edge: `(band, y, x)`, `outer` where `inner` has no data."""
    return np.where((inner != 0).all(axis=0), inner, outer)


def measure_seam(strip: UInt8, minimum: int = MIN_PIXELS) -> SeamMetrics | None:
    """Measure the seam along an edge.

    Args:
        strip: Levels `(band, along, 2 * STRIP_HALF_WIDTH_PX)`; 0 is no data.
        minimum: Minimum number of complete positions.

    Returns:
        The metrics, or None if too few positions are complete.

    Raises:
        RasterError: If the strip has another shape.
    """
    if strip.ndim != 3 or strip.shape[2] != 2 * STRIP_HALF_WIDTH_PX:
        raise RasterError(
            f"Cannot measure a seam: the strip has shape {strip.shape}, not (band, along, {2 * STRIP_HALF_WIDTH_PX}); "
            "extract it with EdgeLine."
        )
    complete = (strip != 0).all(axis=(0, 2))
    pixels = int(complete.sum())
    if pixels < minimum:
        return None
    kept = strip[:, complete]
    edge = _compute_steps(kept, 0)
    controls = np.stack([_compute_steps(kept, shift) for shift in CONTROL_OFFSETS_PX])
    step = edge.mean(axis=1) - controls.mean(axis=(0, 2))
    return SeamMetrics(
        excess=_compute_ratio(np.abs(edge).mean(), np.abs(controls).mean()),
        coherent=_compute_ratio(np.abs(_average_runs(edge)).mean(), np.abs(_average_runs(controls)).mean()),
        energy=_compute_ratio((edge**2).mean(), (controls**2).mean()),
        step=tuple(round(float(value), 3) for value in step),
        pixels=pixels,
    )


def _compute_steps(strip: UInt8, shift: int) -> Float32:
    """Compute the signed step `(band, along)` across the line that runs `shift` pixels right of the edge.

    The largest 2 % of each band are clipped: a road or a roof on the line is not a seam.
    """
    middle = STRIP_HALF_WIDTH_PX + shift
    right, left = strip[:, :, middle + STEP_LAG_PX - 1], strip[:, :, middle - STEP_LAG_PX]
    steps = right.astype(np.float32) - left.astype(np.float32)
    most = np.quantile(np.abs(steps), 0.98, axis=1, keepdims=True).astype(np.float32)
    out: Float32 = np.clip(steps, -most, most)
    return out


def _average_runs(steps: Float32) -> Float32:
    """Average runs of RUN_LENGTH_PX positions: `(..., along)` to `(..., run)`; an incomplete last run is dropped."""
    count = steps.shape[-1] // RUN_LENGTH_PX
    runs = steps[..., : count * RUN_LENGTH_PX].reshape(*steps.shape[:-1], count, RUN_LENGTH_PX)
    out: Float32 = runs.mean(axis=-1)
    return out


def _compute_ratio(edge: float, control: float) -> float:
    return round(max(float(edge), _MIN_DIFFERENCE_LEVELS) / max(float(control), _MIN_DIFFERENCE_LEVELS), 4)
