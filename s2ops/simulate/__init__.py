"""Simulated world: ground, atmosphere, satellite passes, catalog, truth."""
