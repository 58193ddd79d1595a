"""Acquisition of scenes: previews, row prefetching, cloud and shadow masks."""
