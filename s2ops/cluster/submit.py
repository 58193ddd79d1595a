"""What `s2ops submit` sends to a cluster: one small Workflow that refers to the chain's template, checked before."""

import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import yaml

from s2ops.config import RunConfig
from s2ops.errors import ConfigError
from s2ops.storage.text_files import read_text

Json: TypeAlias = dict[str, Any]

TEMPLATE: Final = "s2ops-chain"

MAX_TEXT: Final = 100_000
"""Bytes of a configuration: it becomes an environment variable of each pod, and Linux ends one at 128 KiB."""


def config_text(config: RunConfig) -> str:
    """The configuration as YAML that holds all it needs: variables filled in, the region's outline inside.

    Raises ConfigError where pods could not use it: a place on this machine, or a text that is too long.
    """
    for field, place in {"out": config.out, "catalog": config.catalog, "models": config.models or ""}.items():
        if _is_of_this_machine(field, place):
            raise ConfigError(
                f"{field} is {place}: a pod cannot see this machine's folders, give a URI (s3://..., https://...)"
            )
    data = config.model_dump(mode="json", exclude_unset=True)
    outline = config.region.geojson
    if isinstance(outline, str) and "://" not in outline:
        data["region"] = {"geojson": json.loads(read_text(outline, "region.geojson"))}
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, allow_unicode=True)
    if len(text.encode()) > MAX_TEXT:
        raise ConfigError(
            f"the configuration takes {len(text.encode())} bytes, {MAX_TEXT} can be passed to a pod: put the region's "
            "outline into the object store and give its URI in region.geojson"
        )
    return text


def _is_of_this_machine(field: str, place: str) -> bool:
    if field == "catalog" and "/" not in place and not place.endswith(".json"):
        return False  # the name of a public catalog
    return bool(place) and ("://" not in place or place.startswith("file://"))


def workflow(config: str, parameters: Mapping[str, str], name: str | None = None) -> Json:
    """The Workflow object: `config` is the text of a configuration or its URI."""
    values = {"config": config, **parameters}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name} if name else {"generateName": f"{TEMPLATE}-"},
        "spec": {
            "workflowTemplateRef": {"name": TEMPLATE},
            "arguments": {"parameters": [{"name": key, "value": value} for key, value in values.items()]},
        },
    }


def parameters_of(words: list[str]) -> dict[str, str]:
    """NAME=VALUE pairs of a command line."""
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ConfigError(f"parameter {word!r} is not of the form NAME=VALUE")
        pairs[name] = value
    return pairs


def check(parameters: Mapping[str, str], template: Json) -> None:
    """Refuse parameters that the cluster's template does not have, or values that it does not list."""
    known = {one["name"]: one for one in template["spec"]["arguments"]["parameters"] if one["name"] != "config"}
    for name, value in parameters.items():
        if name not in known:
            raise ConfigError(f"{TEMPLATE} has no parameter {name}; it has {', '.join(sorted(known))}")
        allowed = known[name].get("enum")
        if allowed and value not in allowed:
            raise ConfigError(f"parameter {name} is {value!r}: take one of {', '.join(allowed)}")
