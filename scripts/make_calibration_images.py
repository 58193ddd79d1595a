"""Write the calibration images from which the GPU engine derives its int8 scales.

python scripts/make_calibration_images.py
"""

import numpy as np

from s2ops.inference.gpu.calibration_images import CALIBRATION_FILE, SAMPLE_COUNT, SAMPLE_SIDE_PX
from s2ops.training.datasets.build_pools import simulate_sample


def main() -> None:
    """Simulate the samples and write them to `calibration_images.npz`."""
    levels = np.stack([simulate_sample(seed)[0][:, :SAMPLE_SIDE_PX, :SAMPLE_SIDE_PX] for seed in range(SAMPLE_COUNT)])
    np.savez_compressed(CALIBRATION_FILE, levels=levels)


if __name__ == "__main__":
    main()
