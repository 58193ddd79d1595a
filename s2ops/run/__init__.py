"""Run: context, configuration loading, raster writer, run records, missing tiles."""
