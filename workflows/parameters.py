"""Workflow parameters, as given to `argo submit -p NAME=VALUE`."""

from hera.workflows import Parameter
from hera.workflows.models import ConfigMapKeySelector, ValueFrom

SETTINGS = "s2ops-settings"
"""ConfigMap of the deployment; Argo requires its label workflows.argoproj.io/configmap-type: Parameter."""


def refer_to_parameter(name: str) -> str:
    """Return the expression that refers to a parameter of the workflow."""
    return f"{{{{workflow.parameters.{name}}}}}"


def build_setting(name: str, description: str, default: str | None = None) -> Parameter:
    """Build a parameter whose default comes from the deployment."""
    key = ConfigMapKeySelector(name=SETTINGS, key=name)
    return Parameter(name=name, description=description, value_from=ValueFrom(config_map_key_ref=key, default=default))


def build_config_parameter() -> Parameter:
    """Build the parameter of the run configuration; without a default, so that a submission must give it."""
    return Parameter(
        name="config",
        description="the run: the text of its YAML file, or the URI of one (s3://bucket/run.yaml)",
    )


def build_common_parameters() -> list[Parameter]:
    """Build the parameters that every workflow has and a parent passes to its children."""
    return [
        build_config_parameter(),
        build_setting("image", "the image of the steps, such as registry.example/s2ops-steps:1.0"),
        build_setting("segmenter", "onnx, triton://HOST:PORT or tritons://HOST:PORT", "onnx"),
        build_setting("priority_class", "PriorityClass of the pods; none where it is empty", ""),
        Parameter(name="retries", description="how often a pod that failed for now is started again", value="5"),
        Parameter(name="backoff", description="wait before the first retry, doubled at each, such as 30s", value="30s"),
        Parameter(name="deadline_s", description="seconds after which a pod is ended", value="21600"),
    ]


def list_common_names() -> list[str]:
    """Return the names of the common parameters."""
    return [str(one.name) for one in build_common_parameters()]
