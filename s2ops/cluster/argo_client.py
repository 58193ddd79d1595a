"""Argo Workflows clients: the Kubernetes API, and an Argo server (by Hera). Both need the extra `s2ops[cluster]`."""

import os
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol, cast

from s2ops.constants import Json
from s2ops.errors import ConfigError, S2opsError, TransientError, Translation, translate_errors

_GROUP: Final = ("argoproj.io", "v1alpha1")
_INSTALL_CHART: Final = "install the chart there, or give --namespace"
_OWN_NAMESPACE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class WorkflowClient(Protocol):
    """Client of a cluster that runs Argo workflows."""

    def get_template(self, name: str) -> Json:
        """Get a WorkflowTemplate.

        Raises:
            ConfigError: If it does not exist.
        """

    def submit_workflow(self, workflow: Json) -> str:
        """Submit a workflow and return its name."""

    def get_workflow(self, name: str) -> Json:
        """Get a workflow with its present status."""

    def list_child_workflows(self, name: str) -> list[Json]:
        """List the child workflows of a run."""


def open_workflow_client(namespace: str | None) -> WorkflowClient:
    """Open a client of the Argo server in ARGO_SERVER, or of the cluster in the kubeconfig or of this pod.

    Args:
        namespace: Namespace of the workflows. None: ARGO_NAMESPACE, or the default of the connection.

    Raises:
        ConfigError: If no cluster is configured, or the packages of the extra `cluster` are missing.
    """
    chosen = namespace or os.environ.get("ARGO_NAMESPACE")
    try:
        if os.environ.get("ARGO_SERVER"):
            return ArgoServer(chosen)
        return KubernetesApi(chosen)
    except ModuleNotFoundError as error:
        raise ConfigError(f"submitting needs the package {error.name}: run pip install 's2ops[cluster]'.") from error


class KubernetesApi:
    """Client of the Kubernetes API, in which workflows are custom objects."""

    def __init__(self, namespace: str | None) -> None:
        from kubernetes import client, config  # noqa: PLC0415 -- an extra

        try:
            config.load_config()  # type: ignore[no-untyped-call]  # the kubeconfig, or the service account of this pod
            inside = _OWN_NAMESPACE.exists()
            context = {} if inside else config.list_kube_config_contexts()[1]  # type: ignore[no-untyped-call]
        except (config.ConfigException, OSError) as error:
            raise ConfigError(f"no cluster is configured ({error}): set KUBECONFIG or ARGO_SERVER.") from error
        own = _OWN_NAMESPACE.read_text() if inside else context.get("context", {}).get("namespace")
        self._namespace = namespace or own or "default"
        self._objects = client.CustomObjectsApi()

    def get_template(self, name: str) -> Json:
        """Get a WorkflowTemplate."""
        with _translate_api_errors(f"Cannot read WorkflowTemplate {name} in namespace {self._namespace}"):
            found = self._objects.get_namespaced_custom_object(*_GROUP, self._namespace, "workflowtemplates", name)
            return cast("Json", found)

    def submit_workflow(self, workflow: Json) -> str:
        """Submit a workflow and return its name."""
        with _translate_api_errors(f"Cannot submit a workflow in namespace {self._namespace}"):
            made = self._objects.create_namespaced_custom_object(*_GROUP, self._namespace, "workflows", workflow)
            return str(cast("Json", made)["metadata"]["name"])

    def get_workflow(self, name: str) -> Json:
        """Get a workflow with its present status."""
        with _translate_api_errors(f"Cannot read workflow {name} in namespace {self._namespace}"):
            found = self._objects.get_namespaced_custom_object(*_GROUP, self._namespace, "workflows", name)
            return cast("Json", found)

    def list_child_workflows(self, name: str) -> list[Json]:
        """List the workflows that have the label of the run."""
        with _translate_api_errors(f"Cannot list workflows in namespace {self._namespace}"):
            found = self._objects.list_namespaced_custom_object(
                *_GROUP, self._namespace, "workflows", label_selector=f"s2ops/run={name}"
            )
            return cast("list[Json]", cast("Json", found)["items"])


def _translate_api_errors(what_failed: str) -> AbstractContextManager[None]:
    """Translate errors of the Kubernetes client into errors of s2ops."""
    from kubernetes.client import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    def is_not_found(error: Any) -> bool:
        return bool(error.status == 404)

    def is_rejected(error: Any) -> bool:
        return error.status is not None and error.status < 500

    return translate_errors(
        what_failed,
        Translation((ApiException,), ConfigError, _INSTALL_CHART, is_not_found),
        Translation((ApiException,), ConfigError, "correct the request or its permissions", is_rejected),
        Translation((ApiException,), TransientError, "run the command again"),
        Translation((HTTPError,), TransientError, "check KUBECONFIG and run the command again"),
    )


class ArgoServer:
    """Client of an Argo server, by Hera."""

    def __init__(self, namespace: str | None) -> None:
        from hera.workflows import WorkflowsService  # noqa: PLC0415 -- an extra

        address = os.environ["ARGO_SERVER"]
        scheme = "http" if os.environ.get("ARGO_SECURE") == "false" else "https"
        self._namespace = namespace or "default"
        self._service = WorkflowsService(
            host=address if "://" in address else f"{scheme}://{address}",
            token=os.environ.get("ARGO_TOKEN"),
            verify_ssl=os.environ.get("ARGO_INSECURE_SKIP_VERIFY") != "true",
            namespace=self._namespace,
        )

    def get_template(self, name: str) -> Json:
        """Get a WorkflowTemplate."""
        with _translate_hera_errors(f"Cannot read WorkflowTemplate {name} in namespace {self._namespace}"):
            return _to_json(self._service.get_workflow_template(name))

    def submit_workflow(self, workflow: Json) -> str:
        """Submit a workflow and return its name."""
        from hera.workflows.models import Workflow, WorkflowCreateRequest  # noqa: PLC0415

        with _translate_hera_errors(f"Cannot submit a workflow in namespace {self._namespace}"):
            request = WorkflowCreateRequest(workflow=Workflow.model_validate(workflow))
            return str(_to_json(self._service.create_workflow(request))["metadata"]["name"])

    def get_workflow(self, name: str) -> Json:
        """Get a workflow with its present status."""
        with _translate_hera_errors(f"Cannot read workflow {name} in namespace {self._namespace}"):
            return _to_json(self._service.get_workflow(name))

    def list_child_workflows(self, name: str) -> list[Json]:
        """List the workflows that have the label of the run."""
        with _translate_hera_errors(f"Cannot list workflows in namespace {self._namespace}"):
            return _to_json(self._service.list_workflows(label_selector=f"s2ops/run={name}")).get("items") or []


def _translate_hera_errors(what_failed: str) -> AbstractContextManager[None]:
    """Translate errors of Hera into errors of s2ops."""
    from hera.exceptions import HeraException, NotFound  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    return translate_errors(
        what_failed,
        Translation((NotFound,), ConfigError, _INSTALL_CHART),
        Translation((HeraException,), ConfigError, "correct the request or its permissions"),
        Translation((RequestException,), TransientError, "check ARGO_SERVER and run the command again"),
    )


def _to_json(model: Any) -> Json:
    """Convert a model of Hera to JSON values."""
    return cast("Json", model.model_dump(mode="json", by_alias=True, exclude_none=True))


class RunFailed(S2opsError):
    """Workflow that ended without success; the message contains the reason."""
