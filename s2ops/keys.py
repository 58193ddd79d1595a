"""The keys of a run's outputs, in one place; docs/outputs.md describes them."""


def select(tile: str) -> str:
    """The record of the scene list."""
    return f"select/{tile}.json"


def previews(tile: str) -> str:
    """The candidates' previews with masks."""
    return f"select/{tile}.previews.tif"


def acquired(tile: str) -> str:
    """The record of the acquired scenes."""
    return f"scenes/{tile}/acquired.json"


def image(tile: str, scene: str) -> str:
    """A scene's 8-bit levels."""
    return f"scenes/{tile}/{scene}.tif"


def mask(tile: str, scene: str) -> str:
    """A scene's mask."""
    return f"scenes/{tile}/{scene}.mask.tif"


def scene(tile: str, scene_id: str) -> str:
    """The record of one scene."""
    return f"scenes/{tile}/{scene_id}.json"


def item(product: str, tile: str) -> str:
    """The STAC item, and done marker, of composite, mosaic or landcover."""
    return f"{product}/{tile}/item.json"


def data(product: str, tile: str, name: str) -> str:
    """A data file beside an item."""
    return f"{product}/{tile}/{name}.tif"


BALANCE = "balance/balance.json"
PLAN = "plan/plan.json"
CATALOG = "catalog.json"
REPORT = "report/index.html"
