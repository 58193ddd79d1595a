"""Publishing: STAC items and collections, virtual mosaics, tile index, MosaicJSON."""
