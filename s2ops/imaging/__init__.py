"""Image algorithms on arrays: tone curve, distance transform, interpolation, statistics, rendering."""
