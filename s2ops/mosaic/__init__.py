"""Mosaic: composite of scenes, colour balance of tiles, blending of tiles."""
