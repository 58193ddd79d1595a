"""Composite of a tile's scenes: feathering, gain matching, local matching, composite methods."""
