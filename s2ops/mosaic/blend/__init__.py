"""Feathering of neighbouring tiles with two-band blending."""
