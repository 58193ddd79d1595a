"""Configuration of tiny training runs."""

from s2ops.training.config import TrainConfig


def make_train_config(pool: str, **changes: object) -> TrainConfig:
    """Make the configuration of a tiny network that trains on `pool` and is validated on `pool`-val."""
    base: dict[str, object] = {
        "sources": {pool: 1.0},
        "validation": (f"{pool}-val",),
        "trained_on": (pool,),
        "width": 4,
        "batch": 4,
        "crop": 64,
    }
    return TrainConfig.model_validate(base | changes)
