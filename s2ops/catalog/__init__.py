"""STAC catalogs: search, item parsing, hrefs, signing, HTTP client."""
