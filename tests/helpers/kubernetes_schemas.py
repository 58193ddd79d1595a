"""JSON schemas (for kubeconform) of every kind of object in the chart, from the Go modules that define the kinds."""

import json
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.toolchain import download_module, find_module_folder

CRD_MODULES = {
    "keda": "github.com/kedacore/keda/v2@v2.21.0",
    "monitoring": "github.com/prometheus-operator/prometheus-operator@v0.85.0",
}
CRD_FILES = {
    "keda": ("config/crd/bases/keda.sh_scaledobjects.yaml",),
    "monitoring": tuple(
        f"example/prometheus-operator-crd/monitoring.coreos.com_{kind}.yaml"
        for kind in ("podmonitors", "prometheusrules", "servicemonitors")
    ),
}
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
Schema = dict[str, Any]


def write_schemas(folder: Path, kinds: set[tuple[str, str]]) -> None:
    """Write KIND-GROUP-VERSION.json, in lower case, for each (apiVersion, kind) of the documents to be checked."""
    definitions = json.loads((find_module_folder("kubernetes") / "api/openapi-spec/swagger.json").read_text())[
        "definitions"
    ]
    for schema in definitions.values():
        for names in schema.get("x-kubernetes-group-version-kind", []):
            version = "/".join(filter(None, (names["group"], names["version"])))
            if (version, names["kind"]) in kinds:
                _write(folder, version, names["kind"], _resolve_references(schema, definitions))
    argo = json.loads((find_module_folder("argo") / "api/jsonschema/schema.json").read_text())["definitions"]
    schema = argo["io.argoproj.workflow.v1alpha1.WorkflowTemplate"]
    # Types of the workflow refer to themselves (a step contains steps), so this schema keeps its references.
    closed = {name: _close_object(part) for name, part in argo.items()}
    _write(folder, "argoproj.io/v1alpha1", "WorkflowTemplate", _close_object(schema) | {"definitions": closed})
    for module, paths in CRD_FILES.items():
        for path in paths:
            _write_crd(
                folder, yaml.load((download_module(CRD_MODULES[module]) / path).read_text(), yaml.CSafeLoader)["spec"]
            )


def _write_crd(folder: Path, spec: Schema) -> None:
    for version in spec["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        _write(folder, f"{spec['group']}/{version['name']}", spec["names"]["kind"], _resolve_references(schema, {}))


def _write(folder: Path, version: str, kind: str, schema: Schema) -> None:
    group, _, number = version.rpartition("/")
    suffix = f"{group.split('.')[0]}-{number}" if group else number  # as kubeconform abbreviates a group
    (folder / f"{kind}-{suffix}.json".lower()).write_text(json.dumps(schema))


def _resolve_references(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Replace references by their definitions, and close every object that lists its fields."""
    if reference := schema.get("$ref"):
        name = reference.rsplit("/", 1)[1]
        if name in (_QUANTITY, _INT_OR_STRING):
            return {"type": ["string", "number"]}
        return _resolve_references(definitions[name], definitions)
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["string", "integer"]}
    inlined = {key: value for key, value in schema.items() if not key.startswith("x-")}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            inlined[key] = _resolve_references(schema[key], definitions)
    if "properties" in schema:
        inlined["properties"] = {
            name: _resolve_references(part, definitions) for name, part in schema["properties"].items()
        }
        return _close_object(inlined)
    return inlined


def _close_object(schema: Schema) -> Schema:
    if "properties" in schema and "additionalProperties" not in schema:
        return schema | {"additionalProperties": False}
    return schema
