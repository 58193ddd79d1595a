"""The keys of a run's outputs, in one place; docs/reference/outputs.md describes them."""


def select(tile: str) -> str:
    """The record of the scene list."""
    return f"select/{tile}.json"


def previews(tile: str) -> str:
    """The candidates' previews with masks."""
    return f"select/{tile}.previews.tif"


def base(tile: str) -> str:
    """What a refresh began from: the scene list of the mosaic before it."""
    return f"select/{tile}.base.json"


def base_previews(tile: str) -> str:
    """The previews of that list's candidates."""
    return f"select/{tile}.base.previews.tif"


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


def corrections(tile: str) -> str:
    """What balance says of a tile and its neighbours: all that blending it needs."""
    return f"balance/{tile}.json"


def run_record(step: str, tile: str) -> str:
    """What a step took for a tile, or for all ('all')."""
    return f"run/{step}/{tile}.json"


def failure(step: str, tile: str) -> str:
    """The record that a failed step leaves, and that goes when it succeeds."""
    return f"run/{step}/{tile}.failed.json"


def group(stage: str, number: int) -> str:
    """The tiles of one pod of a cluster."""
    return f"plan/groups/{stage}/{number:03d}.json"


RATES = "run/rates.json"
FORECAST = "run/forecast.json"
BALANCE = "balance/balance.json"
OVERLAPS = "balance/overlaps.json"
PLAN = "plan/plan.json"
CATALOG = "catalog.json"
REPORT = "report/index.html"
