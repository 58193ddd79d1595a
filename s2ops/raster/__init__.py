"""Rasters: reading, COG writing, overviews, resampling, reprojection."""
