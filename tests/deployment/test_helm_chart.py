"""Tests of the Helm chart: rendered objects, rejected values, permissions and limits."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from s2ops.models.registry import NETWORKS
from tests.e2e import toolchain
from tests.helpers.kubernetes_schemas import write_schemas

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/s2ops"
VALUES = sorted((ROOT / "helm/values").glob("*.yaml"))
EVERYTHING = (
    "autoscaling.kind=keda", "monitoring.monitors=true", "monitoring.rules=true", "monitoring.dashboards=true",
    "priorityClasses.create=true", "quota.enabled=true", "networkPolicy.defaultDeny=true", "models.uri=s3://weights/v2",
    "images.pullSecrets={registry}",
)  # fmt: skip
Manifest = dict[str, Any]
KUBERNETES_VERSION = "1.33.0"
"""Given explicitly, because the version that helm assumes depends on its build."""


@cache
def find_program(name: str) -> str:
    """Return the path of a program from the cache of `make test-cluster` or the PATH; skip the test without it."""
    built = toolchain.TOOLS_BY_NAME[name].bin / name
    found = str(built) if built.exists() else shutil.which(name)
    if found is None:
        reason = f"{name} is missing: build it with python -m tests.e2e.toolchain {name}"
        pytest.fail(reason) if os.environ.get("S2OPS_REQUIRE_HELM") else pytest.skip(reason)
    return found


def run_helm(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [find_program("helm"), *map(str, words)], capture_output=True, text=True, timeout=300, check=False
    )


@cache
def render_chart(values: Path | None = None, settings: tuple[str, ...] = ()) -> str:
    words = [part for setting in settings for part in ("--set", setting)] + (["-f", str(values)] if values else [])
    done = run_helm("template", "s2ops", CHART, "-n", "mosaics", "--kube-version", KUBERNETES_VERSION, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load_objects(values: Path | None = None, settings: tuple[str, ...] = ()) -> list[Manifest]:
    return [document for document in yaml.load_all(render_chart(values, settings), yaml.CSafeLoader) if document]


def get_object(kind: str, name: str, settings: tuple[str, ...] = ()) -> Manifest:
    (found,) = (o for o in load_objects(None, settings) if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


def get_rejection(*settings: str) -> str:
    words = [part for setting in settings for part in ("--set", setting)]
    done = run_helm("template", "s2ops", CHART, "--kube-version", KUBERNETES_VERSION, *words)
    assert done.returncode != 0
    return done.stderr


def list_pod_specs(documents: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield name and spec of each pod that the chart's own objects create."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], spec
        elif document["kind"] == "Deployment":
            yield document["metadata"]["name"], spec["template"]["spec"]


VALUE_SETS = [
    (None, ()),
    (None, EVERYTHING),
    (None, ("autoscaling.kind=hpa",)),
    (None, ("triton.enabled=false", "segmenter=onnx")),
]
VALUE_SETS += [(path, ()) for path in VALUES]


@pytest.mark.parametrize(("values", "settings"), VALUE_SETS)
def test_chart_lints_with_each_set_of_values(values: Path | None, settings: tuple[str, ...]) -> None:
    words = [part for setting in settings for part in ("--set", setting)] + (["-f", values] if values else [])
    done = run_helm("lint", "--strict", CHART, *words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    find_program("kubeconform")
    if shutil.which("go") is None:
        pytest.skip("go is missing: the schemas of Kubernetes, Argo, KEDA and Prometheus are in their Go modules")
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(
        folder,
        {(o["apiVersion"], o["kind"]) for values, settings in VALUE_SETS for o in load_objects(values, settings)},
    )
    return folder


@pytest.mark.parametrize(("values", "settings"), VALUE_SETS)
def test_objects_conform_to_the_schema_of_their_kind(
    values: Path | None, settings: tuple[str, ...], schemas: Path
) -> None:
    location = f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    done = subprocess.run(
        [find_program("kubeconform"), "-summary", "-schema-location", location],
        input=render_chart(values, settings), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Skipped: 0" in done.stdout


@pytest.mark.parametrize(("values", "settings"), VALUE_SETS)
def test_pods_conform_to_the_restricted_standard(values: Path | None, settings: tuple[str, ...]) -> None:
    specs = list(list_pod_specs(load_objects(values, settings)))
    assert specs or "triton.enabled=false" in settings
    for name, spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}, name
        assert {next(iter(volume.keys() - {"name"})) for volume in spec.get("volumes", [])} <= {"emptyDir", "configMap"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["limits"]["memory"], name


@pytest.mark.parametrize(("values", "settings"), VALUE_SETS)
def test_chart_creates_no_secret_and_no_cluster_role(values: Path | None, settings: tuple[str, ...]) -> None:
    kinds = {o["kind"] for o in load_objects(values, settings)}
    assert not kinds & {"Secret", "ClusterRole", "ClusterRoleBinding"}


def test_step_account_may_only_report_to_argo() -> None:
    results = {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    workflows = {
        "apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["create", "get", "patch"],
    }  # fmt: skip
    assert get_object("Role", "s2ops-step")["rules"] == [results]
    assert get_object("Role", "s2ops-chain")["rules"] == [results, workflows]
    bindings = [o for o in load_objects() if o["kind"] == "RoleBinding"]
    assert {(b["roleRef"]["name"], *(s["name"] for s in b["subjects"])) for b in bindings} == {
        ("s2ops-step", "s2ops-step"), ("s2ops-chain", "s2ops-chain"),
    }  # fmt: skip


def test_triton_has_no_service_account_token() -> None:
    assert get_object("ServiceAccount", "s2ops-triton")["automountServiceAccountToken"] is False
    assert all(spec["automountServiceAccountToken"] is False for _, spec in list_pod_specs(load_objects()))


def test_rollout_never_stops_the_last_replica() -> None:
    strategy = get_object("Deployment", "s2ops-triton")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_replica_has_time_to_drain_and_to_finish_its_requests() -> None:
    settings = ("triton.drainSeconds=33", "triton.exitTimeoutSeconds=44")
    spec = get_object("Deployment", "s2ops-triton", settings)["spec"]["template"]["spec"]
    (triton,) = spec["containers"]
    assert triton["lifecycle"]["preStop"] == {"sleep": {"seconds": 33}}
    assert any("44" in word for word in triton["args"])
    assert spec["terminationGracePeriodSeconds"] > 33 + 44


def test_probes_check_that_every_network_is_ready() -> None:
    (triton,) = get_object("Deployment", "s2ops-triton")["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert triton[probe]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert triton["startupProbe"]["failureThreshold"] * triton["startupProbe"]["periodSeconds"] == 900


def test_upgrade_without_changes_for_triton_restarts_no_replica() -> None:
    """The pod template does not contain the version of the chart."""
    text = json.dumps(get_object("Deployment", "s2ops-triton", ("images.triton.tag=v7",))["spec"]["template"])
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert version not in text
    assert "s2ops-triton:v7" in text


def test_triton_requests_a_gpu_and_gpu_nodes_only_for_that_device() -> None:
    gpu = get_object("Deployment", "s2ops-triton", ("triton.gpu.count=2", "triton.gpu.nodeSelector.accelerator=h200"))
    cpu = get_object("Deployment", "s2ops-triton", ("triton.device=cpu", "triton.gpu.nodeSelector.accelerator=h200"))
    pod = gpu["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert pod["nodeSelector"] == {"accelerator": "h200"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "nvidia.com" not in json.dumps(cpu)
    assert not cpu["spec"]["template"]["spec"].keys() & {"nodeSelector", "tolerations"}


def test_autoscaling_leaves_the_number_of_replicas_to_the_scaler() -> None:
    assert get_object("Deployment", "s2ops-triton")["spec"]["replicas"] == 1
    for kind in ("keda", "hpa"):
        assert "replicas" not in get_object("Deployment", "s2ops-triton", (f"autoscaling.kind={kind}",))["spec"]


def test_keda_scales_on_the_queue_and_wakes_triton_for_step_pods() -> None:
    settings = ("autoscaling.kind=keda", "autoscaling.minReplicas=0", "autoscaling.queueMilliseconds=80")
    scaled = get_object("ScaledObject", "s2ops-triton", settings)["spec"]
    queue, pods = scaled["triggers"]
    assert scaled["minReplicaCount"] == 0
    assert queue["metricType"] == "Value"
    assert queue["metadata"]["threshold"] == "80"
    assert 'nv_inference_queue_duration_us{namespace="mosaics"}' in queue["metadata"]["query"]
    assert pods["metadata"]["podSelector"] == "workflows.argoproj.io/completed=false"


def test_network_policy_of_steps_allows_only_dns_triton_listed_egress_and_prometheus() -> None:
    spec = get_object("NetworkPolicy", "s2ops-step")["spec"]
    assert spec["podSelector"] == {
        "matchExpressions": [{"key": "workflows.argoproj.io/workflow", "operator": "Exists"}]
    }
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [8001], [443, 6443]]
    assert spec["egress"][2]["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]
    assert [rule["ports"] for rule in spec["ingress"]] == [[{"protocol": "TCP", "port": 9090}]]


def test_network_policy_of_triton_allows_egress_only_for_weights_in_a_bucket() -> None:
    assert get_object("NetworkPolicy", "s2ops-triton")["spec"]["egress"] == []
    assert get_object("NetworkPolicy", "s2ops-triton", ("models.uri=s3://b/w",))["spec"]["egress"]
    ingress = get_object("NetworkPolicy", "s2ops-triton")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in ingress] == [8001, 8002]


def test_triton_gets_credentials_only_for_weights_in_a_bucket() -> None:
    assert "s2ops-object-store" not in json.dumps(get_object("Deployment", "s2ops-triton"))
    (triton,) = get_object("Deployment", "s2ops-triton", ("models.uri=s3://b/w",))["spec"]["template"]["spec"][
        "containers"
    ]
    assert {"name": "S2OPS_MODELS", "value": "s3://b/w"} in triton["env"]
    assert "s2ops-object-store" in json.dumps(triton["envFrom"])


def test_settings_and_semaphores_have_the_values_for_the_workflow_templates() -> None:
    settings = get_object("ConfigMap", "s2ops-settings", ("images.steps.digest=sha256:" + "0" * 64,))
    assert settings["metadata"]["labels"]["workflows.argoproj.io/configmap-type"] == "Parameter"
    assert settings["data"]["image"] == "s2ops-steps@sha256:" + "0" * 64
    assert settings["data"]["segmenter"] == "triton://s2ops-triton:8001"
    assert get_object("ConfigMap", "s2ops-settings", ("steps.blend.cpu=3",))["data"]["blend_cpu"] == "3"
    assert settings["data"]["priority_class"] == ""
    assert get_object("ConfigMap", "s2ops-settings", EVERYTHING)["data"]["priority_class"] == "s2ops-step"
    assert get_object("ConfigMap", "s2ops-semaphores", ("semaphores.inference=5",))["data"]["inference"] == "5"


def test_workflow_templates_of_the_chart_are_the_committed_ones() -> None:
    committed = [
        document
        for path in sorted((CHART / "files/workflows").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]
    assert committed
    of_chart = {o["metadata"]["name"]: o for o in load_objects() if o["kind"] == "WorkflowTemplate"}
    assert of_chart == {document["metadata"]["name"]: document for document in committed}


def test_workflow_templates_reference_existing_objects() -> None:
    made = {(o["kind"], o["metadata"]["name"]): o for o in load_objects()}
    for o in [o for o in made.values() if o["kind"] == "WorkflowTemplate"]:
        for name in find_values(o, "serviceAccountName"):
            assert ("ServiceAccount", name) in made, name
        for reference in [*find_values(o, "configMapKeyRef")]:
            assert reference["key"] in made["ConfigMap", reference["name"]]["data"], reference
        for reference in find_values(o, "configMapRef"):
            assert ("ConfigMap", reference["name"]) in made, reference


def find_values(value: Any, key: str) -> Iterator[Any]:
    """Yield each value of `key` anywhere below `value`."""
    if isinstance(value, dict):
        for name, below in value.items():
            if name == key:
                yield below
            yield from find_values(below, key)
    elif isinstance(value, list):
        for below in value:
            yield from find_values(below, key)


def test_admission_policy_lists_the_parameters_of_every_workflow_template() -> None:
    """tests/e2e checks the rejections of a real API server."""
    policy = get_object("ValidatingAdmissionPolicy", "s2ops-parameters-mosaics")["spec"]
    variables = {one["name"]: one["expression"] for one in policy["variables"]}
    known = json.loads(variables["known"].removesuffix("[object.spec.workflowTemplateRef.name]"))
    templates = {o["metadata"]["name"]: o["spec"] for o in load_objects() if o["kind"] == "WorkflowTemplate"}
    assert known == {name: [one["name"] for one in spec["arguments"]["parameters"]] for name, spec in templates.items()}
    assert json.loads(variables["choices"]) == {"on_failure": ["publish", "keep"]}
    assert json.loads(variables["patterns"]).keys() <= {name for names in known.values() for name in names}
    (binding,) = (o for o in load_objects() if o["kind"] == "ValidatingAdmissionPolicyBinding")
    selected = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
    assert selected == {"kubernetes.io/metadata.name": "mosaics"}
    assert not [o for o in load_objects(None, ("admission.create=false",)) if o["kind"].startswith("Validating")]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("triton.replica=2", "triton replica"),
        ("tritn.replicas=2", "tritn"),
        ("triton.device=tpu", "device gpu cpu"),
        ("triton.replicas=many", "replicas integer"),
        ("triton.resources.requests.gpu=1", "requests gpu"),
        ("semaphores.inference=0", "inference 1"),
        ("segmenter=http://triton:8000", "segmenter onnx|tritons?"),
        ("images.steps.tag=a b", "tag match"),
        ("models.uri=/weights", "uri s3|gs|az"),
        ("networkPolicy.egress[0].port=443", "egress 0 port"),
        ("env.AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY"),
        ("autoscaling.minReplicas=9", "autoscaling.minReplicas is 9 and autoscaling.maxReplicas 4"),
        ("triton.enabled=false", "triton.enabled is false and segmenter is empty: set segmenter to onnx"),
    ],
)
def test_helm_rejects_an_invalid_value_and_names_it(setting: str, words: str) -> None:
    """Only the names are compared, because helm's wording changes between versions."""
    message = get_rejection(setting)
    assert all(word in message for word in words.split()), message


def test_helm_rejects_contradictory_values() -> None:
    assert "an hpa cannot wake from" in get_rejection("autoscaling.kind=hpa", "autoscaling.minReplicas=0")
    assert "triton.enabled is false" in get_rejection("autoscaling.kind=keda", "triton.enabled=false", "segmenter=onnx")


def test_helm_rejects_a_cluster_too_old_for_the_drain() -> None:
    done = run_helm("template", "s2ops", CHART, "--kube-version", "1.29.0")
    assert "1.30.0" in done.stderr


def test_notes_contain_the_submit_command(tmp_path: Path) -> None:
    """Helm prints notes only with a cluster; a copy of the chart renders them in a template instead."""
    chart = shutil.copytree(CHART, tmp_path / "s2ops")
    (chart / "templates/shown.yaml").write_text(
        'notes: {{ include (print .Template.BasePath "/NOTES.txt") . | quote }}'
    )
    done = run_helm(
        "template", "s2ops", chart, "-n", "mosaics", "--kube-version", KUBERNETES_VERSION, "-s", "templates/shown.yaml"
    )
    notes = yaml.safe_load(done.stdout)["notes"]
    assert "argo submit -n mosaics --from workflowtemplate/s2ops-chain -p config=" in notes
    assert "helm -n mosaics test s2ops" in notes


def test_values_schema_has_no_open_object() -> None:
    """Each object lists its keys and accepts no others, or states the type of its values."""
    free = {"nodeAffinity", "podAffinity", "podAntiAffinity", "global"}  # Kubernetes validates the first three itself

    def check_schema(schema: Manifest, name: str) -> None:
        if schema.get("type") == "object" and name not in free:
            assert schema.get("additionalProperties") is not None, name
            assert ("properties" in schema) == (schema["additionalProperties"] is False), name
        for key, below in schema.get("properties", {}).items():
            check_schema(below, key)
        if schema.get("type") == "array":
            check_schema(schema["items"], name)

    check_schema(json.loads((CHART / "values.schema.json").read_text()), "values")


def test_readme_and_descriptions_match_the_values() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/write_chart_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_helm_test_checks_every_network() -> None:
    source = (CHART / "files/check_triton.py").read_text()
    assert all(f'"{network}"' in source for network in (*NETWORKS, "landcover"))
