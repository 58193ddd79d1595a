"""Pipeline: steps, local engine, process pool, tile groups."""
