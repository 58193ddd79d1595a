"""Fill NUMBA_CACHE_DIR while the image is built: run the chain over two simulated tiles with every composite rule.

Kernels that these tiles do not use are compiled in the pod that uses them (s2ops/runtime/jit_cache.py).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from s2ops.mosaic.composite.reducers import COMPOSITE_METHODS

CONFIG = """
region: {{tiles: [32TPS, 32TPT]}}
dates: {{start: 2023-06-01, end: 2023-08-31}}
catalog: {folder}/world/catalog.json
max_cloud: 95
resolution: 120
out: {folder}/out
composite: {{rule: {rule}}}
"""


def run_s2ops(*words: str) -> None:
    """Run one command of the command line."""
    subprocess.run([sys.executable, "-c", "from s2ops.cli import main; main()", *words], check=True)


with tempfile.TemporaryDirectory() as made:
    folder = Path(made)
    run_s2ops(
        "simulate", f"{folder}/world", "--tile=32TPS", "--tile=32TPT", "--dates=2", "--resolution=120", "--seed=5"
    )
    (folder / "run.yaml").write_text(CONFIG.format(folder=folder, rule="recent"))
    run_s2ops("run", f"{folder}/run.yaml", "--workers", "1")
    for rule in sorted(set(COMPOSITE_METHODS) - {"recent"}):
        (folder / "run.yaml").write_text(CONFIG.format(folder=folder, rule=rule))
        run_s2ops("step", "composite", f"{folder}/run.yaml", "--tile", "32TPS")
