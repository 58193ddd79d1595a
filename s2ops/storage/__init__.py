"""Storage: object store, layout of keys, done markers."""
