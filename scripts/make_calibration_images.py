"""Write the images from which the GPU engine learns its int8 scales.

python scripts/make_calibration_images.py
"""

import numpy as np

from s2ops.inference.gpu.calibration_images import FILE, SAMPLES, SIDE
from s2ops.training.datasets.build_pools import simulated


def main() -> None:
    """Write one simulated sample after another to `calibration_images.npz`."""
    levels = np.stack([simulated(seed)[0][:, :SIDE, :SIDE] for seed in range(SAMPLES)])
    np.savez_compressed(FILE, levels=levels)


if __name__ == "__main__":
    main()
