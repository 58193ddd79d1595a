"""View of a run on a map in the browser: server, map tiles, point queries."""
