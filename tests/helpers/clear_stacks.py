"""Hypothesis strategy for stacks of cloud-free masks with costs."""

import numpy as np
from hypothesis import strategies as st

from s2ops.constants import Bool, Float64


@st.composite
def draw_clear_stacks(draw: st.DrawFn, least: int = 1) -> tuple[Bool, Float64]:
    """Draw clear masks (scene, y, x) of one or seven words of pixels, and costs of a few scenes."""
    scenes = draw(st.integers(least, 9))
    shape = draw(st.sampled_from([(6, 7), (18, 23)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    clear = rng.random((scenes, *shape)) < rng.uniform(0.1, 0.9, (scenes, 1, 1))
    return clear, 1 + rng.integers(0, 30, scenes) / 10
