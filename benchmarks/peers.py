"""The same composite as others make it; run by benchmarks/composite.py, in whatever environment has them.

    python benchmarks/peers.py METHOD OUT.tif SCENE.tif ...      (beside each scene its SCENE.mask.tif)

Windows of 1024 on two threads, a plain tiled file, then GDAL's COG driver with the options of s2ops.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from threading import Lock, local

import numpy as np
import rasterio
from numpy.ma import MaskedArray
from rasterio.shutil import copy
from rasterio.windows import Window

SIDE = 1024
THREADS = 2
OPEN = local()
Read = Callable[[], MaskedArray]


def opened(path: str) -> rasterio.DatasetReader:
    """A handle for each thread."""
    if not hasattr(OPEN, "files"):
        OPEN.files = {}
    if path not in OPEN.files:
        OPEN.files[path] = rasterio.open(path)
    return OPEN.files[path]


def masked(scene: str, window: Window) -> MaskedArray:
    """(4, y, x) levels, masked where not clear."""
    unclear = opened(scene.replace(".tif", ".mask.tif")).read(1, window=window) != 0
    levels = opened(scene).read(window=window)
    return MaskedArray(levels, mask=np.broadcast_to(unclear, levels.shape))


def numpy_first(reads: Sequence[Read]) -> np.ndarray:
    out: np.ndarray | None = None
    for read in reads:
        part = read()
        if out is None:
            out = part.filled(0)
        else:
            np.copyto(out, part.data, where=(out == 0) & ~part.mask)
        if out.all():
            break
    assert out is not None
    return out


def numpy_median(reads: Sequence[Read]) -> np.ndarray:
    """By sorting: what is not clear goes to the end."""
    parts = [read() for read in reads]
    stack = np.stack([part.data for part in parts]).astype(np.uint16)
    stack[np.stack([part.mask for part in parts])] = 999
    stack.sort(axis=0)
    count = (stack < 999).sum(axis=0)[None]
    low = np.take_along_axis(stack, np.maximum(count - 1, 0) // 2, axis=0)[0]
    high = np.take_along_axis(stack, np.minimum(count // 2, len(parts) - 1), axis=0)[0]
    return np.where(count[0] > 0, (low + high) // 2, 0).astype(np.uint8)


def rio_tiler(name: str) -> Callable[[Sequence[Read]], np.ndarray]:
    """One of rio-tiler's mosaic methods."""
    from rio_tiler.models import ImageData  # noqa: PLC0415 (only where it is installed)
    from rio_tiler.mosaic.methods import defaults  # noqa: PLC0415

    def fuse(reads: Sequence[Read]) -> np.ndarray:
        method = getattr(defaults, name)()
        for read in reads:
            method.feed(ImageData(read()).array)
            if method.is_done:
                break
        filled: np.ndarray = method.data.filled(0).astype(np.uint8)
        return filled

    return fuse


def main() -> None:
    name, target, scenes = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    own = {"numpy-first": numpy_first, "numpy-median": numpy_median}
    fuse = own[name] if name in own else rio_tiler(name)
    with rasterio.open(scenes[0]) as src:
        profile = {**src.profile, "driver": "GTiff", "compress": None, "photometric": "MINISBLACK", "alpha": "NO"}
    plain, lock = target.with_suffix(".plain.tif"), Lock()
    with rasterio.open(plain, "w", **profile) as dst:

        def work(corner: tuple[int, int]) -> None:
            top, left = corner
            window = Window(left, top, min(SIDE, dst.width - left), min(SIDE, dst.height - top))
            out = fuse([lambda scene=scene: masked(scene, window) for scene in scenes])
            with lock:
                dst.write(out, window=window)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, product(range(0, dst.height, SIDE), range(0, dst.width, SIDE))))
    copy(
        str(plain), str(target), driver="COG", COMPRESS="ZSTD", LEVEL="1", PREDICTOR="YES", BLOCKSIZE="512",
        OVERVIEW_RESAMPLING="AVERAGE", NUM_THREADS="ALL_CPUS",
    )  # fmt: skip
    plain.unlink()


if __name__ == "__main__":
    main()
