"""STAC API catalog against a real server (stac-fastapi on pgstac, PostgreSQL and PostGIS), searched page by page."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from s2ops.catalog.http_client import create_stac_io
from s2ops.catalog.search import ApiCatalog, Provider, open_catalog
from s2ops.constants import Json
from s2ops.errors import CatalogError
from tests.helpers.stac_items import COLLECTION, make_item, replace_asset

POSTGRES = Path("/usr/lib/postgresql/15/bin")
POSTGIS = Path("/usr/share/postgresql/15/extension/postgis.control")
DAYS = [date(2023, 8, 1) + timedelta(days=5 * number) for number in range(12)]
TIMEOUT_S = 180

LOAD = """
import sys
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods
from pypgstac.migrate import Migrate
db = PgstacDB(dsn=sys.argv[1])
Migrate(db).run_migration()
loader = Loader(db)
loader.load_collections(sys.argv[2], Methods.insert)
loader.load_items(sys.argv[3], Methods.insert)
db.close()
"""


def describe_missing_service() -> str | None:
    """Describe the package or service that these tests need and that is not installed; None if nothing is missing."""
    modules = [name for name in ("stac_fastapi.pgstac", "pypgstac", "uvicorn") if not _is_importable(name)]
    if modules:
        return f"the Python packages {', '.join(modules)} are not installed (make install)"
    if not (POSTGRES / "initdb").exists() or not POSTGIS.exists():
        return "PostgreSQL 15 with PostGIS is not installed (scripts/install-test-services.sh)"
    return None


def _is_importable(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def find_free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def run_process(args: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server; at the end, stop it by its process id."""
    with log.open("wb") as sink, subprocess.Popen(args, stdout=sink, stderr=sink, **options) as running:
        try:
            yield running
        finally:
            running.send_signal(signal.SIGINT)
            try:
                running.wait(10)
            except subprocess.TimeoutExpired:
                running.kill()


def wait_until(ready: Any, what: str, running: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end and running.poll() is None:
        if ready():
            return
        time.sleep(0.1)
    pytest.fail(f"{what} did not start: {log.read_text()[-2000:]}")


@contextmanager
def start_postgres(folder: Path) -> Iterator[int]:
    """Start PostgreSQL with an empty database and yield its port; under root it runs as another user, as it must."""
    data, port = folder / "data", find_free_port()
    as_user: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        as_user |= {"user": "postgres", "group": "postgres", "extra_groups": []}
        folder.chmod(0o755)
        data.mkdir()
        subprocess.run(["chown", "postgres", data], check=True)
    setup = [POSTGRES / "initdb", "-D", data, "-A", "trust", "-U", "s2ops", "-E", "UTF8", "--no-sync", "--locale=C"]
    subprocess.run(setup, check=True, capture_output=True, **as_user)
    loose = [part for name in ("fsync", "synchronous_commit", "full_page_writes") for part in ("-c", f"{name}=off")]
    server = [str(POSTGRES / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", "", *loose]
    log = folder / "postgres.log"
    with run_process(server, log, **as_user) as running:
        probe = [POSTGRES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port), "-U", "s2ops", "-d", "postgres"]
        wait_until(lambda: subprocess.run(probe, check=False).returncode == 0, "PostgreSQL", running, log)
        yield port


@contextmanager
def start_stac_api(folder: Path, database: int, extensions: str) -> Iterator[str]:
    """Start the API and yield its root URL."""
    port = find_free_port()
    env = os.environ | {
        "PGUSER": "s2ops",
        "PGPASSWORD": "any",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(database),
        "PGDATABASE": "postgres",
        "ENABLED_EXTENSIONS": extensions,
    }
    server = [sys.executable, "-m", "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory", "--port", str(port)]
    url, log = f"http://127.0.0.1:{port}", folder / f"api-{port}.log"

    def has_started() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with run_process(server, log, env=env, cwd=folder) as running:
        wait_until(has_started, "the STAC API", running, log)
        yield url


def make_collection(name: str) -> Json:
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [["2015-06-23T00:00:00Z", None]]}}
    head = {"type": "Collection", "id": name, "stac_version": "1.0.0", "description": "any", "license": "other"}
    return head | {"links": [], "extent": extent}


def make_items() -> list[Json]:
    """Make items of two overlapping tiles on 12 days, a cloudy scene, a reprocessed one and a hostile one."""
    names = [f"S2A_{tile}_{day:%Y%m%d}_0_L2A" for tile in ("33TWL", "33TWM") for day in DAYS]
    items = [make_item(name) for name in names]
    again = make_item("S2A_33TWL_20230801_1_L2A", **{"s2:processing_baseline": "05.10"})
    cloudy = make_item("S2B_33TWL_20230803_0_L2A", **{"eo:cloud_cover": 97.0})
    hostile = replace_asset(make_item("S2B_33TWL_20230808_0_L2A"), "red", "file:///etc/passwd")
    return [*items, again, cloudy, hostile]


def load_recorded_items() -> list[Json]:
    """Load recorded items of Earth Search; none if the real data are not available."""
    folder = os.environ.get("S2OPS_REAL_DATA")
    if folder is None:
        return []
    file = Path(folder) / "stac-fixtures" / "earthsearch_v1_sentinel-2-c1-l2a_items.json"
    features: list[Json] = json.loads(file.read_text())["features"]
    return features


def write_lines(path: Path, documents: list[Json]) -> str:
    path.write_text("\n".join(json.dumps(document) for document in documents))
    return str(path)


@pytest.fixture(scope="module")
def apis() -> Iterator[Mapping[str, str]]:
    """Root URLs of two servers over one database: one accepts `query`, the other only CQL2 filters."""
    reason = describe_missing_service()
    if reason is not None:
        if os.environ.get("S2OPS_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as name, start_postgres(Path(name)) as port:
        folder = Path(name)
        collections = write_lines(folder / "c", [make_collection(COLLECTION), make_collection("sentinel-2-c1-l2a")])
        items = write_lines(folder / "i", make_items() + load_recorded_items())
        dsn = f"postgresql://s2ops@127.0.0.1:{port}/postgres"
        loaded = subprocess.run([sys.executable, "-c", LOAD, dsn, collections, items], capture_output=True, check=False)
        assert loaded.returncode == 0, loaded.stderr.decode()[-2000:]
        with (
            start_stac_api(folder, port, "query,pagination") as query,
            start_stac_api(folder, port, "filter,pagination") as cql2,
        ):
            yield {"query": query, "filter": cql2}


def open_api(url: str, page: int, tile_property: str | None = None) -> ApiCatalog:
    return ApiCatalog(Provider(url, COLLECTION, tile_property, "MGRS-"), create_stac_io(retries=1), page)


@pytest.mark.parametrize("kind", ["query", "filter"])
@pytest.mark.parametrize("page", [5, 100])
def test_api_catalog_finds_the_same_scenes_with_any_page_size(apis: Mapping[str, str], kind: str, page: int) -> None:
    found = open_api(apis[kind], page).find_scenes("33TWL", DAYS[0], DAYS[-1], 80.0)
    assert [scene.date for scene in found.scenes] == [day.isoformat() for day in DAYS]
    assert {scene.tile for scene in found.scenes} == {"33TWL"}
    assert found.scenes[0].id == "S2A_33TWL_20230801_1_L2A"  # the newer processing
    assert [(name, "file:///etc/passwd" in why) for name, why in found.left_out] == [("S2B_33TWL_20230808_0_L2A", True)]
    assert [name for name, _ in found.excluded] == ["S2A_33TWL_20230801_0_L2A", "S2B_33TWL_20230803_0_L2A"]


@pytest.mark.parametrize("kind", ["query", "filter"])
def test_api_catalog_includes_the_first_and_the_last_day(apis: Mapping[str, str], kind: str) -> None:
    found = open_api(apis[kind], 100).find_scenes("33TWM", DAYS[2], DAYS[4], 80.0)
    assert [scene.date for scene in found.scenes] == [day.isoformat() for day in DAYS[2:5]]


@pytest.mark.parametrize("kind", ["query", "filter"])
def test_api_catalog_returns_cloudy_scenes_only_up_to_max_cloud(apis: Mapping[str, str], kind: str) -> None:
    ids = [scene.id for scene in open_api(apis[kind], 100).find_scenes("33TWL", DAYS[0], DAYS[-1], 100.0).scenes]
    assert "S2B_33TWL_20230803_0_L2A" in ids
    assert len(ids) == len(DAYS) + 1


def test_api_catalog_finds_the_same_by_tile_property_as_by_footprint(apis: Mapping[str, str]) -> None:
    where = open_api(apis["query"], 100).find_scenes("33TWL", DAYS[0], DAYS[-1], 80.0)
    named = open_api(apis["query"], 100, "grid:code").find_scenes("33TWL", DAYS[0], DAYS[-1], 80.0)
    assert named == where


def test_api_catalog_returns_nothing_for_a_tile_without_scenes(apis: Mapping[str, str]) -> None:
    found = open_api(apis["query"], 100).find_scenes("20HMD", DAYS[0], DAYS[-1], 80.0)
    assert (found.scenes, found.left_out) == ((), ())


def test_open_catalog_opens_the_collection_named_after_the_url(apis: Mapping[str, str]) -> None:
    if not load_recorded_items():
        pytest.skip("S2OPS_REAL_DATA is not set: no recorded items to load")
    catalog = open_catalog(f"{apis['query']}#sentinel-2-c1-l2a")
    assert isinstance(catalog, ApiCatalog)
    found = replace(catalog, page=3).find_scenes("13TDE", date(2024, 4, 1), date(2024, 4, 30), 100.0)
    assert len(found.scenes) == 9
    assert {scene.offset for scene in found.scenes} == {-1000}
    assert found.left_out == ()


def test_api_catalog_finds_nothing_or_raises_for_an_unknown_collection(apis: Mapping[str, str]) -> None:
    catalog = open_catalog(f"{apis['query']}#no-such-collection")
    try:
        found = catalog.find_scenes("33TWL", DAYS[0], DAYS[-1], 80.0)
    except CatalogError as error:
        assert "no-such-collection" in str(error)  # noqa: PT017 -- APIs may do either
    else:
        assert found.scenes == ()


def test_api_catalog_raises_for_a_url_that_is_not_a_stac_api(apis: Mapping[str, str]) -> None:
    with pytest.raises(CatalogError, match=r"is not (a|the root of a) STAC API"):
        open_catalog(f"{apis['query']}/conformance").find_scenes("33TWL", DAYS[0], DAYS[-1], 80.0)
