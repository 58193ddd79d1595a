"""Colour balance (harmonization) of all tiles of a region."""
