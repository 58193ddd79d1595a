"""The chart: what it makes of its values, what it refuses, and the rights and limits of all its objects."""

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
KUBE = "1.33.0"
"""What helm itself believes it talks to depends on how it was built."""


@cache
def program(name: str) -> str:
    """The program from the cache of `make test-cluster` or the PATH; without it the test skips."""
    built = toolchain.TOOLS_BY_NAME[name].bin / name
    found = str(built) if built.exists() else shutil.which(name)
    if found is None:
        reason = f"{name} is missing: build it with python -m tests.e2e.toolchain {name}"
        pytest.fail(reason) if os.environ.get("S2OPS_REQUIRE_HELM") else pytest.skip(reason)
    return found


def helm(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([program("helm"), *map(str, words)], capture_output=True, text=True, timeout=300, check=False)


@cache
def rendered(values: Path | None = None, settings: tuple[str, ...] = ()) -> str:
    words = [part for setting in settings for part in ("--set", setting)] + (["-f", str(values)] if values else [])
    done = helm("template", "s2ops", CHART, "-n", "mosaics", "--kube-version", KUBE, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(values: Path | None = None, settings: tuple[str, ...] = ()) -> list[Manifest]:
    return [document for document in yaml.load_all(rendered(values, settings), yaml.CSafeLoader) if document]


def named(kind: str, name: str, settings: tuple[str, ...] = ()) -> Manifest:
    (found,) = (o for o in objects(None, settings) if o["kind"] == kind and o["metadata"]["name"] == name)
    return found


def refusal(*settings: str) -> str:
    words = [part for setting in settings for part in ("--set", setting)]
    done = helm("template", "s2ops", CHART, "--kube-version", KUBE, *words)
    assert done.returncode != 0
    return done.stderr


def pod_specs(documents: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """(name, spec) of each pod that the chart's own objects make."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "Pod":
            yield document["metadata"]["name"], spec
        elif document["kind"] == "Deployment":
            yield document["metadata"]["name"], spec["template"]["spec"]


WAYS = [
    (None, ()),
    (None, EVERYTHING),
    (None, ("autoscaling.kind=hpa",)),
    (None, ("triton.enabled=false", "segmenter=onnx")),
]
WAYS += [(path, ()) for path in VALUES]


@pytest.mark.parametrize(("values", "settings"), WAYS)
def test_the_chart_lints_with_each_set_of_values(values: Path | None, settings: tuple[str, ...]) -> None:
    words = [part for setting in settings for part in ("--set", setting)] + (["-f", values] if values else [])
    done = helm("lint", "--strict", CHART, *words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program("kubeconform")
    if shutil.which("go") is None:
        pytest.skip("go is missing: the schemas of Kubernetes, Argo, KEDA and Prometheus come from their Go modules")
    folder = tmp_path_factory.mktemp("schemas")
    write_schemas(
        folder, {(o["apiVersion"], o["kind"]) for values, settings in WAYS for o in objects(values, settings)}
    )
    return folder


@pytest.mark.parametrize(("values", "settings"), WAYS)
def test_every_object_fits_the_schema_of_its_kind(
    values: Path | None, settings: tuple[str, ...], schemas: Path
) -> None:
    location = f"{schemas}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json"
    done = subprocess.run(
        [program("kubeconform"), "-summary", "-schema-location", location],
        input=rendered(values, settings), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Skipped: 0" in done.stdout


@pytest.mark.parametrize(("values", "settings"), WAYS)
def test_every_pod_fits_the_restricted_standard(values: Path | None, settings: tuple[str, ...]) -> None:
    specs = list(pod_specs(objects(values, settings)))
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


@pytest.mark.parametrize(("values", "settings"), WAYS)
def test_no_secret_and_no_cluster_wide_right_is_ever_made(values: Path | None, settings: tuple[str, ...]) -> None:
    kinds = {o["kind"] for o in objects(values, settings)}
    assert not kinds & {"Secret", "ClusterRole", "ClusterRoleBinding"}


def test_a_step_may_report_to_argo_and_nothing_else() -> None:
    results = {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    workflows = {
        "apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["create", "get", "patch"],
    }  # fmt: skip
    assert named("Role", "s2ops-step")["rules"] == [results]
    assert named("Role", "s2ops-chain")["rules"] == [results, workflows]
    bindings = [o for o in objects() if o["kind"] == "RoleBinding"]
    assert {(b["roleRef"]["name"], *(s["name"] for s in b["subjects"])) for b in bindings} == {
        ("s2ops-step", "s2ops-step"), ("s2ops-chain", "s2ops-chain"),
    }  # fmt: skip


def test_triton_has_no_token() -> None:
    assert named("ServiceAccount", "s2ops-triton")["automountServiceAccountToken"] is False
    assert all(spec["automountServiceAccountToken"] is False for _, spec in pod_specs(objects()))


def test_a_rollout_never_takes_the_last_replica() -> None:
    strategy = named("Deployment", "s2ops-triton")["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}


def test_a_replica_has_time_to_leave_the_service_and_to_finish_its_requests() -> None:
    settings = ("triton.drainSeconds=33", "triton.exitTimeoutSeconds=44")
    spec = named("Deployment", "s2ops-triton", settings)["spec"]["template"]["spec"]
    (triton,) = spec["containers"]
    assert triton["lifecycle"]["preStop"] == {"sleep": {"seconds": 33}}
    assert any("44" in word for word in triton["args"])
    assert spec["terminationGracePeriodSeconds"] > 33 + 44


def test_all_probes_ask_whether_every_network_is_ready() -> None:
    (triton,) = named("Deployment", "s2ops-triton")["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert triton[probe]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}
    assert triton["startupProbe"]["failureThreshold"] * triton["startupProbe"]["periodSeconds"] == 900


def test_an_upgrade_that_changes_nothing_for_triton_restarts_no_replica() -> None:
    """The pod template holds no version of the chart."""
    text = json.dumps(named("Deployment", "s2ops-triton", ("images.triton.tag=v7",))["spec"]["template"])
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]
    assert version not in text
    assert "s2ops-triton:v7" in text


def test_a_gpu_is_asked_for_on_gpu_nodes_alone() -> None:
    gpu = named("Deployment", "s2ops-triton", ("triton.gpu.count=2", "triton.gpu.nodeSelector.accelerator=h200"))
    cpu = named("Deployment", "s2ops-triton", ("triton.device=cpu", "triton.gpu.nodeSelector.accelerator=h200"))
    pod = gpu["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 2
    assert pod["nodeSelector"] == {"accelerator": "h200"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert "nvidia.com" not in json.dumps(cpu)
    assert not cpu["spec"]["template"]["spec"].keys() & {"nodeSelector", "tolerations"}


def test_autoscaling_leaves_the_number_of_replicas_to_the_scaler() -> None:
    assert named("Deployment", "s2ops-triton")["spec"]["replicas"] == 1
    for kind in ("keda", "hpa"):
        assert "replicas" not in named("Deployment", "s2ops-triton", (f"autoscaling.kind={kind}",))["spec"]


def test_keda_scales_on_the_queue_and_wakes_triton_for_step_pods() -> None:
    settings = ("autoscaling.kind=keda", "autoscaling.minReplicas=0", "autoscaling.queueMilliseconds=80")
    scaled = named("ScaledObject", "s2ops-triton", settings)["spec"]
    queue, pods = scaled["triggers"]
    assert scaled["minReplicaCount"] == 0
    assert queue["metricType"] == "Value"
    assert queue["metadata"]["threshold"] == "80"
    assert 'nv_inference_queue_duration_us{namespace="mosaics"}' in queue["metadata"]["query"]
    assert pods["metadata"]["podSelector"] == "workflows.argoproj.io/completed=false"


def test_steps_reach_triton_names_and_what_is_listed_and_nothing_reaches_them_but_prometheus() -> None:
    spec = named("NetworkPolicy", "s2ops-step")["spec"]
    assert spec["podSelector"] == {
        "matchExpressions": [{"key": "workflows.argoproj.io/workflow", "operator": "Exists"}]
    }
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [[port["port"] for port in rule["ports"]] for rule in spec["egress"]] == [[53, 53], [8001], [443, 6443]]
    assert spec["egress"][2]["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]
    assert [rule["ports"] for rule in spec["ingress"]] == [[{"protocol": "TCP", "port": 9090}]]


def test_triton_reaches_nothing_unless_it_reads_weights_from_a_bucket() -> None:
    assert named("NetworkPolicy", "s2ops-triton")["spec"]["egress"] == []
    assert named("NetworkPolicy", "s2ops-triton", ("models.uri=s3://b/w",))["spec"]["egress"]
    ingress = named("NetworkPolicy", "s2ops-triton")["spec"]["ingress"]
    assert [rule["ports"][0]["port"] for rule in ingress] == [8001, 8002]


def test_triton_sees_the_credentials_only_where_it_reads_weights_from_a_bucket() -> None:
    assert "s2ops-object-store" not in json.dumps(named("Deployment", "s2ops-triton"))
    (triton,) = named("Deployment", "s2ops-triton", ("models.uri=s3://b/w",))["spec"]["template"]["spec"]["containers"]
    assert {"name": "S2OPS_MODELS", "value": "s3://b/w"} in triton["env"]
    assert "s2ops-object-store" in json.dumps(triton["envFrom"])


def test_settings_and_semaphores_are_what_the_workflow_templates_look_up() -> None:
    settings = named("ConfigMap", "s2ops-settings", ("images.steps.digest=sha256:" + "0" * 64,))
    assert settings["metadata"]["labels"]["workflows.argoproj.io/configmap-type"] == "Parameter"
    assert settings["data"]["image"] == "s2ops-steps@sha256:" + "0" * 64
    assert settings["data"]["segmenter"] == "triton://s2ops-triton:8001"
    assert named("ConfigMap", "s2ops-settings", ("steps.blend.cpu=3",))["data"]["blend_cpu"] == "3"
    assert settings["data"]["priority_class"] == ""
    assert named("ConfigMap", "s2ops-settings", EVERYTHING)["data"]["priority_class"] == "s2ops-step"
    assert named("ConfigMap", "s2ops-semaphores", ("semaphores.inference=5",))["data"]["inference"] == "5"


def test_the_workflow_templates_are_the_committed_ones() -> None:
    committed = [
        document
        for path in sorted((CHART / "files/workflows").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text())
    ]
    assert committed
    of_chart = {o["metadata"]["name"]: o for o in objects() if o["kind"] == "WorkflowTemplate"}
    assert of_chart == {document["metadata"]["name"]: document for document in committed}


def test_what_the_workflow_templates_name_is_there() -> None:
    made = {(o["kind"], o["metadata"]["name"]): o for o in objects()}
    for o in [o for o in made.values() if o["kind"] == "WorkflowTemplate"]:
        for name in found(o, "serviceAccountName"):
            assert ("ServiceAccount", name) in made, name
        for reference in [*found(o, "configMapKeyRef")]:
            assert reference["key"] in made["ConfigMap", reference["name"]]["data"], reference
        for reference in found(o, "configMapRef"):
            assert ("ConfigMap", reference["name"]) in made, reference


def found(value: Any, key: str) -> Iterator[Any]:
    """Each value of `key` anywhere below."""
    if isinstance(value, dict):
        for name, below in value.items():
            if name == key:
                yield below
            yield from found(below, key)
    elif isinstance(value, list):
        for below in value:
            yield from found(below, key)


def test_the_api_server_knows_the_parameters_of_every_workflow_template() -> None:
    """What it refuses on is asked of a real one in tests/e2e."""
    policy = named("ValidatingAdmissionPolicy", "s2ops-parameters-mosaics")["spec"]
    variables = {one["name"]: one["expression"] for one in policy["variables"]}
    known = json.loads(variables["known"].removesuffix("[object.spec.workflowTemplateRef.name]"))
    templates = {o["metadata"]["name"]: o["spec"] for o in objects() if o["kind"] == "WorkflowTemplate"}
    assert known == {name: [one["name"] for one in spec["arguments"]["parameters"]] for name, spec in templates.items()}
    assert json.loads(variables["choices"]) == {"on_failure": ["publish", "keep"]}
    assert json.loads(variables["patterns"]).keys() <= {name for names in known.values() for name in names}
    (binding,) = (o for o in objects() if o["kind"] == "ValidatingAdmissionPolicyBinding")
    selected = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
    assert selected == {"kubernetes.io/metadata.name": "mosaics"}
    assert not [o for o in objects(None, ("admission.create=false",)) if o["kind"].startswith("Validating")]


@pytest.mark.parametrize(
    ("setting", "says"),
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
def test_a_wrong_value_is_refused_with_a_message_that_names_it(setting: str, says: str) -> None:
    """The words around the names are helm's, and change between its versions."""
    message = refusal(setting)
    assert all(word in message for word in says.split()), message


def test_values_that_contradict_one_another_are_refused() -> None:
    assert "an hpa cannot wake from" in refusal("autoscaling.kind=hpa", "autoscaling.minReplicas=0")
    assert "triton.enabled is false" in refusal("autoscaling.kind=keda", "triton.enabled=false", "segmenter=onnx")


def test_a_cluster_too_old_for_the_drain_is_refused() -> None:
    done = helm("template", "s2ops", CHART, "--kube-version", "1.29.0")
    assert "1.30.0" in done.stderr


def test_the_notes_hold_the_submit_command(tmp_path: Path) -> None:
    """Helm shows notes only with a cluster; a copy of the chart shows them as a ConfigMap."""
    chart = shutil.copytree(CHART, tmp_path / "s2ops")
    (chart / "templates/shown.yaml").write_text(
        'notes: {{ include (print .Template.BasePath "/NOTES.txt") . | quote }}'
    )
    done = helm("template", "s2ops", chart, "-n", "mosaics", "--kube-version", KUBE, "-s", "templates/shown.yaml")
    notes = yaml.safe_load(done.stdout)["notes"]
    assert "argo submit -n mosaics --from workflowtemplate/s2ops-chain -p config=" in notes
    assert "helm -n mosaics test s2ops" in notes


def test_no_part_of_the_schema_is_open() -> None:
    """An object lists its keys and takes no others, or says of what kind its values are."""
    free = {"nodeAffinity", "podAffinity", "podAntiAffinity", "global"}  # Kubernetes checks the first three itself

    def check(schema: Manifest, name: str) -> None:
        if schema.get("type") == "object" and name not in free:
            assert schema.get("additionalProperties") is not None, name
            assert ("properties" in schema) == (schema["additionalProperties"] is False), name
        for key, below in schema.get("properties", {}).items():
            check(below, key)
        if schema.get("type") == "array":
            check(schema["items"], name)

    check(json.loads((CHART / "values.schema.json").read_text()), "values")


def test_readme_and_descriptions_are_those_of_the_values() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/write_chart_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_helm_test_asks_for_every_network() -> None:
    source = (CHART / "files/check_triton.py").read_text()
    assert all(f'"{network}"' in source for network in (*NETWORKS, "landcover"))
