"""Geography: MGRS tiling grid, regions, areas, footprints, polygon files."""
