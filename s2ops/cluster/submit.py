"""Workflow submission (`s2ops submit`): build and validate the Workflow object that refers to the chain's template."""

import json
from collections.abc import Mapping
from typing import Final

import yaml

from s2ops.config import RunConfig
from s2ops.constants import Json
from s2ops.errors import ConfigError
from s2ops.storage.object_store import is_url, read_text

WORKFLOW_TEMPLATE_NAME: Final = "s2ops-chain"

MAX_CONFIG_BYTES: Final = 100_000
"""Maximum size of a configuration, which becomes an environment variable of each pod; the Linux limit is 128 KiB."""


def build_config_text(config: RunConfig) -> str:
    """Build a self-contained configuration in YAML: variables are expanded, and the region's outline is embedded.

    Raises:
        ConfigError: If pods could not use it: it refers to local files, or the text is too long.
    """
    for field, place in {"out": config.out, "catalog": config.catalog, "models": config.models or ""}.items():
        if _is_local_place(field, place):
            raise ConfigError(
                f"{field} is {place}: a pod cannot access this machine's folders; give a URI (s3://..., https://...)."
            )
    data = config.model_dump(mode="json", exclude_unset=True)
    outline = config.region.geojson
    if isinstance(outline, str) and not is_url(outline):
        data["region"] = {"geojson": json.loads(read_text(outline, "region.geojson"))}
    text = yaml.safe_dump(data, sort_keys=False, default_flow_style=None, allow_unicode=True)
    if len(text.encode()) > MAX_CONFIG_BYTES:
        raise ConfigError(
            f"the configuration has {len(text.encode())} bytes, but at most {MAX_CONFIG_BYTES} can be passed to a pod: "
            "put the region's outline into the object store and give its URI in region.geojson."
        )
    return text


def _is_local_place(field: str, place: str) -> bool:
    if field == "catalog" and "/" not in place and not place.endswith(".json"):
        return False  # the name of a public catalog
    return bool(place) and (not is_url(place) or place.startswith("file://"))


def build_workflow(config: str, parameters: Mapping[str, str], name: str | None = None) -> Json:
    """Build the Workflow object.

    Args:
        config: Text or URI of a configuration.
        parameters: Further parameters of the workflow by name.
        name: Name of the workflow; None: a generated name.
    """
    values = {"config": config, **parameters}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name} if name else {"generateName": f"{WORKFLOW_TEMPLATE_NAME}-"},
        "spec": {
            "workflowTemplateRef": {"name": WORKFLOW_TEMPLATE_NAME},
            "arguments": {"parameters": [{"name": key, "value": value} for key, value in values.items()]},
        },
    }


def parse_parameters(words: list[str]) -> dict[str, str]:
    """Parse the NAME=VALUE pairs of a command line."""
    pairs = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ConfigError(f"parameter {word!r} is not of the form NAME=VALUE; write it like size=10.")
        pairs[name] = value
    return pairs


def validate_parameters(parameters: Mapping[str, str], template: Json) -> None:
    """Validate workflow parameters against the template of the cluster.

    Raises:
        ConfigError: If the template does not have a parameter, or does not list its value.
    """
    known = {one["name"]: one for one in template["spec"]["arguments"]["parameters"] if one["name"] != "config"}
    for name, value in parameters.items():
        if name not in known:
            raise ConfigError(f"{WORKFLOW_TEMPLATE_NAME} has no parameter {name}; it has {', '.join(sorted(known))}.")
        allowed = known[name].get("enum")
        if allowed and value not in allowed:
            raise ConfigError(f"parameter {name} is {value!r}: use one of {', '.join(allowed)}.")
