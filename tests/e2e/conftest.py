"""The cluster, the release of the chart and the regions that the tests of this folder share.

They run with `-m cluster` alone. `S2OPS_KUBECONFIG` names a cluster of your own; docs/operations/test-cluster.md says what that
needs.
"""

from __future__ import annotations

import functools
import json
import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import cluster, images
from .deployment import install
from .few import Few, copy_scenes, run_here
from .kubectl import Kubectl
from .places import REGION, S3, S3_KEY, S3_SECRET
from .regions import ObjectStore, configuration, simulate
from .runs import Run, submit
from .scraping import Scrape
from .services import BUCKET, public_bucket
from .three import Ended, three
from .toolchain import build

TILES = ("32TPS", "32TPT", "32TQS")
"""A corner: 32TPS lies beside the two others, which meet at a corner only."""


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Path]]:
    """A simulated world of three tiles, begun before the cluster; not where others serve it."""
    with ThreadPoolExecutor(1) as beside:
        folder = tmp_path_factory.mktemp("world")
        yield Future() if os.environ.get("S2OPS_TEST_WORLD") else beside.submit(simulate, folder, TILES)


@pytest.fixture(scope="session")
def own(simulated: Future[Path]) -> Iterator[cluster.Own | None]:
    """The cluster that the tests start themselves; None where `S2OPS_KUBECONFIG` names another."""
    if os.environ.get("S2OPS_KUBECONFIG"):
        yield None
        return
    with cluster.running() as started:
        yield started


@pytest.fixture(scope="session")
def mine(own: cluster.Own | None) -> cluster.Own:
    """As `own`, for tests that stop parts of it, which nobody may do to another's cluster."""
    if own is None:
        pytest.skip("stops parts of the cluster: runs only on the one that the tests start themselves")
    return own


@pytest.fixture(scope="session")
def kubectl(own: cluster.Own | None) -> Iterator[Kubectl]:
    """The clients, in the namespace of s2ops."""
    if own is None:
        build("kubernetes", "argo", "helm")
        found = Kubectl(Path(os.environ["S2OPS_KUBECONFIG"]), os.environ.get("S2OPS_NAMESPACE", "s2ops"))
    else:
        found = own.kubectl
    yield found
    found.close()


@pytest.fixture(scope="session")
def object_store(own: cluster.Own | None) -> Iterator[ObjectStore]:
    """Where runs write to; this process reaches it with the same settings as the pods."""
    settings = {"AWS_REGION": REGION, "AWS_ALLOW_HTTP": "true", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"}
    if own is None:
        uri = os.environ["S2OPS_TEST_STORE"]
        settings = {name: os.environ[name] for name in ("AWS_ENDPOINT_URL", *settings) if name in os.environ}
    else:
        uri, settings["AWS_ENDPOINT_URL"] = f"s3://{BUCKET}", S3
    keys = {"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET} if own is not None else {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**settings, **keys}.items():
            patch.setenv(name, value)
        # A place of its own: a cluster that was started by hand may hold the outputs of earlier tests.
        yield ObjectStore(f"{uri}/{secrets.token_hex(4)}", settings)


@pytest.fixture(scope="session")
def values(object_store: ObjectStore) -> dict[str, Any]:
    """The values of the release beside helm/values/kind.yaml: images, object store, and what two cores can bear."""
    prefix = os.environ.get("S2OPS_TEST_IMAGES", "localhost/")
    tag = os.environ.get("S2OPS_TEST_TAG", images.TAG)
    stage = {"cpu": "500m", "memory": "2Gi"}  # so that three of them fit beside Triton
    return {
        "images": {name: {"repository": f"{prefix}s2ops-{name}", "tag": tag} for name in ("steps", "triton")},
        "env": dict(object_store.environment),
        "steps": dict.fromkeys(("scenes", "blend", "landcover"), stage),
        "triton": {"drainSeconds": 3, "exitTimeoutSeconds": 10},
    }


@pytest.fixture(scope="session")
def release(kubectl: Kubectl, values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """The chart, installed, with Triton ready."""
    install(kubectl, tmp_path_factory.mktemp("release"), values)
    return kubectl


@pytest.fixture(scope="session")
def world(own: cluster.Own | None, simulated: Future[Path]) -> str:
    """The URL of a simulated world of three tiles."""
    if own is None:
        return os.environ["S2OPS_TEST_WORLD"]
    return public_bucket(own.places, "world", simulated.result())


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes; without it, tests on them are skipped."""
    if not os.environ.get("S2OPS_REAL_DATA"):
        pytest.skip("set S2OPS_REAL_DATA to the folder with zagreb-two-tiles")
    return Path(os.environ["S2OPS_REAL_DATA"])


@dataclass(frozen=True, slots=True)
class Region:
    """The three tiles, run on the cluster and on this machine, undisturbed."""

    config: str
    out: str
    run: Run
    here: dict[str, str]
    metrics: str
    """What a pod of the first stage showed Prometheus while it ran."""


def replace(path: Path, text: str) -> None:
    """Give a file other contents at once: other runs may be reading it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture(scope="session")
def one_less(own: cluster.Own | None, world: str) -> Iterator[Callable[[], None]]:
    """Takes the last scene of the last tile out of the world's catalog; gives the function that puts it back.

    On another's cluster the world stays as it is.
    """
    if own is None:
        yield lambda: None
        return
    path = own.places.buckets / "world" / "sentinel-2-l2a" / "collection.json"
    whole = path.read_text()
    collection = json.loads(whole)
    last = max(link["href"] for link in collection["links"] if link["rel"] == "item" and TILES[-1] in link["href"])
    collection["links"] = [link for link in collection["links"] if link["href"] != last]
    replace(path, json.dumps(collection))

    def put_back() -> None:
        replace(path, whole)

    yield put_back
    put_back()


@pytest.fixture(scope="session")
def begun(request: pytest.FixtureRequest) -> None:
    """Begins the disturbed runs, if a test that is to come looks at them: one run alone leaves processors idle."""
    if any("ahead" in item.fixturenames for item in request.session.items if isinstance(item, pytest.Function)):
        request.getfixturevalue("ahead")


@pytest.fixture(scope="session")
def region_here(
    release: Kubectl,
    world: str,
    one_less: object,
    object_store: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Future[dict[str, str]]]:
    """The three tiles on this machine, beside what the tests do meanwhile."""
    out = object_store.out("region-here")
    config = configuration(TILES, f"{world}/catalog.json", object_store.out("region"))
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(run_here, release, config, out, tmp_path_factory.mktemp("region"))


@pytest.fixture(scope="session")
def region(
    release: Kubectl, world: str, begun: None, object_store: ObjectStore, region_here: Future[dict[str, str]]
) -> Region:
    """Three tiles of the simulated world, a pod for each tile and stage."""
    out = object_store.out("region")
    config = configuration(TILES, f"{world}/catalog.json", out)
    run = submit(release, config, size="1")
    look = Scrape(run)
    run.succeeded(on_tick=look)
    return Region(config, out, run, region_here.result(), look.found)


@pytest.fixture(scope="session")
def few(
    release: Kubectl,
    world: str,
    object_store: ObjectStore,
    region_here: Future[dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Few]]:
    """Makes a `Few` of some tiles: runs them on this machine once, beside what the tests do meanwhile.

    Their scenes are those of the three tiles, which that machine need not look at twice.
    """
    with ThreadPoolExecutor(1) as beside:

        def on_this_machine(tiles: tuple[str, ...], config: str, out: str) -> dict[str, str]:
            region_here.result()
            copy_scenes(object_store.out("region-here"), out, tiles)
            return run_here(release, config, out, tmp_path_factory.mktemp("few"))

        @functools.cache
        def made(*tiles: str) -> Few:
            out = object_store.out("-".join(tiles) + "-here")
            config = configuration(tiles, f"{world}/catalog.json", out)
            return Few(release, world, object_store, tiles, beside.submit(on_this_machine, tiles, config, out))

        yield made


@pytest.fixture(scope="session")
def pair(few: Callable[..., Few]) -> Few:
    """Two neighbours."""
    return few(*TILES[:2])


@pytest.fixture(scope="session")
def single(few: Callable[..., Few]) -> Few:
    """One tile."""
    return few(TILES[0])


@pytest.fixture(scope="session")
def spoilt_world(own: cluster.Own | None, world: str) -> str | None:
    """The world with not one readable scene of its second tile; None where others serve it."""
    if own is None:
        return None
    url = public_bucket(own.places, "spoilt", own.places.buckets / "world")
    for path in (own.places.buckets / "spoilt").rglob("*.tif"):
        if TILES[1] in str(path) and "truth" not in path.parts:
            path.write_bytes(b"not a TIFF")
    return url


@pytest.fixture(scope="session")
def ahead(
    single: Few, pair: Few, spoilt_world: str | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[dict[str, Ended]]]:
    """Three disturbed runs at once, beside what the tests do meanwhile."""
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(three, single, pair, spoilt_world, tmp_path_factory.mktemp("idle"))


@pytest.fixture(scope="session")
def three_runs(ahead: Future[dict[str, Ended]]) -> dict[str, Ended]:
    """The disturbed runs and those that follow them, ended."""
    return ahead.result()
