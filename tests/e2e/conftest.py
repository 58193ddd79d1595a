"""Fixtures of the cluster tests: the cluster, the release of the chart, and the regions that tests share.

The tests run with `-m cluster` only. `S2OPS_KUBECONFIG` names a cluster of your own; docs/operations/test-cluster.md
describes its requirements.
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
from .cluster_layout import REGION, S3, S3_KEY, S3_SECRET
from .concurrent_runs import EndedRun, run_concurrently
from .deployment import install_chart
from .kubectl import Kubectl
from .regions import ObjectStore, render_config, simulate_world
from .runs import Run, submit_with_argo
from .scraping import SelectionScrape
from .services import BUCKET, create_public_bucket
from .small_region import SmallRegion, copy_scenes, run_locally
from .toolchain import build_tools

TILES = ("32TPS", "32TPT", "32TQS")
"""Three tiles at a corner: 32TPS is a neighbour of the two others, which touch at a corner only."""


@pytest.fixture(scope="session")
def simulated_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Path]]:
    """Simulated world of three tiles, started before the cluster; never done if `S2OPS_TEST_WORLD` names one."""
    with ThreadPoolExecutor(1) as beside:
        folder = tmp_path_factory.mktemp("world")
        yield Future() if os.environ.get("S2OPS_TEST_WORLD") else beside.submit(simulate_world, folder, TILES)


@pytest.fixture(scope="session")
def own_cluster(simulated_world: Future[Path]) -> Iterator[cluster.OwnCluster | None]:
    """Cluster that the tests start themselves; None if `S2OPS_KUBECONFIG` names another one."""
    if os.environ.get("S2OPS_KUBECONFIG"):
        yield None
        return
    with cluster.run_cluster() as started:
        yield started


@pytest.fixture(scope="session")
def stoppable_cluster(own_cluster: cluster.OwnCluster | None) -> cluster.OwnCluster:
    """The same cluster, for tests that stop parts of it; skips on a cluster that belongs to others."""
    if own_cluster is None:
        pytest.skip("stops parts of the cluster: runs only on a cluster that the tests start themselves")
    return own_cluster


@pytest.fixture(scope="session")
def kubectl(own_cluster: cluster.OwnCluster | None) -> Iterator[Kubectl]:
    """Command-line clients, in the namespace of s2ops."""
    if own_cluster is None:
        build_tools("kubernetes", "argo", "helm")
        found = Kubectl(Path(os.environ["S2OPS_KUBECONFIG"]), os.environ.get("S2OPS_NAMESPACE", "s2ops"))
    else:
        found = own_cluster.kubectl
    yield found
    found.close()


@pytest.fixture(scope="session")
def object_store(own_cluster: cluster.OwnCluster | None) -> Iterator[ObjectStore]:
    """Object store of the runs' outputs; this process reaches it with the same settings as the pods."""
    settings = {"AWS_REGION": REGION, "AWS_ALLOW_HTTP": "true", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false"}
    if own_cluster is None:
        uri = os.environ["S2OPS_TEST_STORE"]
        settings = {name: os.environ[name] for name in ("AWS_ENDPOINT_URL", *settings) if name in os.environ}
    else:
        uri, settings["AWS_ENDPOINT_URL"] = f"s3://{BUCKET}", S3
    keys = {"AWS_ACCESS_KEY_ID": S3_KEY, "AWS_SECRET_ACCESS_KEY": S3_SECRET} if own_cluster is not None else {}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**settings, **keys}.items():
            patch.setenv(name, value)
        # A prefix of its own: a cluster that was started by hand may hold the outputs of earlier tests.
        yield ObjectStore(f"{uri}/{secrets.token_hex(4)}", settings)


@pytest.fixture(scope="session")
def values(object_store: ObjectStore) -> dict[str, Any]:
    """Values of the release besides helm/values/kind.yaml: images, object store, and resources that fit two cores."""
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
    """Installed chart, with Triton ready."""
    install_chart(kubectl, tmp_path_factory.mktemp("release"), values)
    return kubectl


@pytest.fixture(scope="session")
def world(own_cluster: cluster.OwnCluster | None, simulated_world: Future[Path]) -> str:
    """URL of a simulated world of three tiles."""
    if own_cluster is None:
        return os.environ["S2OPS_TEST_WORLD"]
    return create_public_bucket(own_cluster.layout, "world", simulated_world.result())


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real scenes; without it, tests on them are skipped."""
    if not os.environ.get("S2OPS_REAL_DATA"):
        pytest.skip("set S2OPS_REAL_DATA to the folder with zagreb-two-tiles")
    return Path(os.environ["S2OPS_REAL_DATA"])


@dataclass(frozen=True, slots=True)
class Region:
    """The three tiles, run undisturbed on the cluster and on this machine."""

    config: str
    out: str
    run: Run
    local_hashes: dict[str, str]
    metrics: str
    """Prometheus metrics of a pod of the first stage while it ran."""


def replace(path: Path, text: str) -> None:
    """Replace the contents of a file atomically, because other runs may be reading it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


@pytest.fixture(scope="session")
def withheld_scene(own_cluster: cluster.OwnCluster | None, world: str) -> Iterator[Callable[[], None]]:
    """Last scene of the last tile, taken out of the world's catalog; the value is a function that puts it back.

    On a cluster of others the world is not changed, and the function does nothing.
    """
    if own_cluster is None:
        yield lambda: None
        return
    path = own_cluster.layout.buckets / "world" / "sentinel-2-l2a" / "collection.json"
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
def concurrent_runs_started(request: pytest.FixtureRequest) -> None:
    """Start of the concurrent runs, if a later test needs them: one run alone leaves processors idle."""
    if any(
        "concurrent_runs_future" in item.fixturenames
        for item in request.session.items
        if isinstance(item, pytest.Function)
    ):
        request.getfixturevalue("concurrent_runs_future")


@pytest.fixture(scope="session")
def local_region(
    release: Kubectl,
    world: str,
    withheld_scene: object,
    object_store: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Future[dict[str, str]]]:
    """Run of the three tiles on this machine, in a thread beside the tests."""
    out = object_store.get_run_uri("region-here")
    config = render_config(TILES, f"{world}/catalog.json", object_store.get_run_uri("region"))
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(run_locally, release, config, out, tmp_path_factory.mktemp("region"))


@pytest.fixture(scope="session")
def region(
    release: Kubectl,
    world: str,
    concurrent_runs_started: None,
    object_store: ObjectStore,
    local_region: Future[dict[str, str]],
) -> Region:
    """Run of three tiles of the simulated world, with one pod per tile and stage."""
    out = object_store.get_run_uri("region")
    config = render_config(TILES, f"{world}/catalog.json", out)
    run = submit_with_argo(release, config, size="1")
    scrape = SelectionScrape(run)
    run.wait_until_succeeded(on_tick=scrape)
    return Region(config, out, run, local_region.result(), scrape.found)


@pytest.fixture(scope="session")
def small_regions(
    release: Kubectl,
    world: str,
    object_store: ObjectStore,
    local_region: Future[dict[str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., SmallRegion]]:
    """Factory of a `SmallRegion`: runs its tiles once on this machine, in a thread beside the tests.

    The scenes are copied from the run of the three tiles, so that this machine computes them only once.
    """
    with ThreadPoolExecutor(1) as beside:

        def run_on_this_machine(tiles: tuple[str, ...], config: str, out: str) -> dict[str, str]:
            local_region.result()
            copy_scenes(object_store.get_run_uri("region-here"), out, tiles)
            return run_locally(release, config, out, tmp_path_factory.mktemp("few"))

        @functools.cache
        def make_small_region(*tiles: str) -> SmallRegion:
            out = object_store.get_run_uri("-".join(tiles) + "-here")
            config = render_config(tiles, f"{world}/catalog.json", out)
            return SmallRegion(
                release, world, object_store, tiles, beside.submit(run_on_this_machine, tiles, config, out)
            )

        yield make_small_region


@pytest.fixture(scope="session")
def tile_pair(small_regions: Callable[..., SmallRegion]) -> SmallRegion:
    """Two neighbouring tiles."""
    return small_regions(*TILES[:2])


@pytest.fixture(scope="session")
def single_tile(small_regions: Callable[..., SmallRegion]) -> SmallRegion:
    """One tile."""
    return small_regions(TILES[0])


@pytest.fixture(scope="session")
def corrupt_world(own_cluster: cluster.OwnCluster | None, world: str) -> str | None:
    """World without a readable scene of its second tile; None if others serve the world."""
    if own_cluster is None:
        return None
    url = create_public_bucket(own_cluster.layout, "spoilt", own_cluster.layout.buckets / "world")
    for path in (own_cluster.layout.buckets / "spoilt").rglob("*.tif"):
        if TILES[1] in str(path) and "truth" not in path.parts:
            path.write_bytes(b"not a TIFF")
    return url


@pytest.fixture(scope="session")
def concurrent_runs_future(
    single_tile: SmallRegion,
    tile_pair: SmallRegion,
    corrupt_world: str | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Future[dict[str, EndedRun]]]:
    """Three concurrent disturbed runs, in a thread beside the tests."""
    with ThreadPoolExecutor(1) as beside:
        yield beside.submit(run_concurrently, single_tile, tile_pair, corrupt_world, tmp_path_factory.mktemp("idle"))


@pytest.fixture(scope="session")
def concurrent_runs(concurrent_runs_future: Future[dict[str, EndedRun]]) -> dict[str, EndedRun]:
    """The disturbed runs and those that follow them, all of them ended."""
    return concurrent_runs_future.result()
