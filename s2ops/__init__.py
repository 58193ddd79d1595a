"""Cloud-free Sentinel-2 mosaics (composites) and land-cover maps."""

from importlib.metadata import version

__version__ = version("s2ops")
