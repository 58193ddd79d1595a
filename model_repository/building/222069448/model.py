"""One Triton model: all it does is in s2ops."""

import os
import sys

# the backend's Python ignores PYTHONPATH
sys.path += filter(None, os.environ.get("S2OPS_PYTHONPATH", "").split(os.pathsep))

from s2ops.inference.triton.backend import TritonPythonModel

__all__ = ["TritonPythonModel"]
