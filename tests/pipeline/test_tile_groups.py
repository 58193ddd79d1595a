"""Groups and stages: what the pods of a cluster run gives what `s2ops run` gives, whatever fails on the way."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from s2ops.cli.app import app
from s2ops.errors import ConfigError, InputError, MissingInput, RasterError
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.pipeline import step_runner, tile_groups
from s2ops.pipeline.steps import TileStep
from s2ops.quality.verify import verify
from s2ops.results import StepResult
from s2ops.run.context import RunContext
from s2ops.run.load_config import load_config
from s2ops.storage.done_marker import DoneMarker
from s2ops.storage.object_store import Store
from tests.helpers.chain import NEIGHBOUR_TILES, compute_checksums, build_command, run_s2ops, write_config

SMALL = "landcover: {enabled: false}\n"
"""Land cover takes most of the time and is one stage like another; test_chain.py runs it."""


@pytest.fixture(scope="module")
def catalog(two_tiles: Path) -> Path:
    return two_tiles


@pytest.fixture(scope="module")
def undisturbed(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    done = run_s2ops("run", write_config(out.parent / "run.yaml", catalog, out, extra=SMALL), "--workers", 1)
    assert done.returncode == 0, done.stderr
    return out


def job_of(path: Path) -> RunContext:
    return RunContext(load_config(path), tuple(parse_tile(name) for name in NEIGHBOUR_TILES), 1)


def pod(*words: object) -> None:
    """What a pod runs, in this process: starting one takes longer than the work."""
    app([str(word) for word in words], standalone_mode=False)


def pods(path: Path, folder: Path) -> dict[str, list[Mapping[str, str]]]:
    """What the workflow does, one command after the other; gives the children of each stage."""
    started = {}

    def stage(name: str) -> None:
        listing = folder / f"{name}.json"
        pod("group", name, path, "--size", 1, "--child", 2, "--list", listing)
        started[name] = json.loads(listing.read_text())
        for child in started[name]:
            for group in range(int(child["first"]), int(child["last"]) + 1):
                pod("stage", name, path, "--group", f"{group:03d}", "--counts", folder / "counts")

    pod("step", "plan", path)
    stage("scenes")
    pod("step", "balance", path)
    stage("blend")
    stage("landcover")
    pod("step", "publish", path)
    return started


def test_pods_give_the_bytes_of_one_machine_and_a_second_submit_starts_none(
    catalog: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    path = write_config(tmp_path / "run.yaml", catalog, out, extra=SMALL)
    progress = tmp_path / "progress"
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(progress))
    first = pods(path, tmp_path)
    assert first == {"scenes": [{"first": "0", "last": "1"}], "blend": [{"first": "0", "last": "1"}], "landcover": []}
    assert progress.read_text() == "1/1\n"
    assert (tmp_path / "counts/made").read_text() == "1"
    assert compute_checksums(out) == compute_checksums(undisturbed)
    assert pods(path, tmp_path) == {"scenes": [], "blend": [], "landcover": []}
    assert [one for one in verify(Store(str(out)), pixels=False) if one.severity == "error"] == []


@pytest.mark.parametrize(
    ("tiles", "size", "child", "children"),
    [
        (5, 2, 4, [(0, 1), (2, 2)]),  # the last group and the last child are not full
        (4, 2, 5, [(0, 1)]),  # a child holds whole groups
        (3, 1, 1, [(0, 0), (1, 1), (2, 2)]),
        (0, 16, 500, []),
    ],
)
def test_groups_make_up_children(tmp_path: Path, tiles: int, size: int, child: int, children: list[object]) -> None:
    ctx = job_of(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))
    names = [f"T{number}" for number in range(tiles)]
    made = tile_groups.write_groups(ctx, "blend", names, size, child)
    assert [(one.first, one.last) for one in made] == children
    written = [json.loads(path.read_text())["tiles"] for path in sorted((tmp_path / "out/plan").rglob("*.json"))]
    assert [name for group in written for name in group] == names
    assert all(len(group) <= size for group in written)


@pytest.mark.parametrize(("size", "child"), [(0, 500), (16, 501), (17, 16)])
def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, size: int, child: int) -> None:
    ctx = job_of(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))
    with pytest.raises(ConfigError, match=f"{size} tiles a group and {child} a child workflow do not fit"):
        tile_groups.write_groups(ctx, "blend", [], size, child)


def test_a_pod_knows_how_many_tiles_its_whole_stage_has(tmp_path: Path) -> None:
    ctx = job_of(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))
    tile_groups.write_groups(ctx, "blend", NEIGHBOUR_TILES, 1, 1)
    assert tile_groups.read_group(ctx, "blend", 1) == tile_groups.TileGroup([NEIGHBOUR_TILES[1]], 2)


def test_a_group_of_another_run_is_refused(tmp_path: Path) -> None:
    ctx = job_of(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))
    with pytest.raises(InputError, match=r"has no plan/groups/blend/007\.json: run s2ops group blend first"):
        tile_groups.read_group(ctx, "blend", 7)
    tile_groups.write_groups(ctx, "blend", ["33TWL"], 1, 1)
    with pytest.raises(InputError, match="names 33TWL, which the run's region does not have"):
        tile_groups.read_group(ctx, "blend", 0)


def test_a_stage_before_its_turn_says_what_comes_first(catalog: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "run.yaml", catalog, tmp_path / "out", extra=SMALL)
    with pytest.raises(MissingInput, match="run the step balance for"):
        pod("group", "blend", path, "--list", tmp_path / "list.json")


def fake(name: str, failing: Mapping[str, Exception], ran: list[str]) -> TileStep:
    """A step that writes its marker, and fails for some tiles."""

    def mark(_: RunContext, one: object) -> DoneMarker:
        return DoneMarker(f"{name}/{one.name}.json", "f")  # type: ignore[attr-defined]

    def run(ctx: RunContext, one: object) -> StepResult:
        tile_name = one.name  # type: ignore[attr-defined]
        ran.append(tile_name)
        if tile_name in failing:
            raise failing[tile_name]
        ctx.store.put(f"{name}/{tile_name}.json", b'{"fingerprint": "f"}')
        return StepResult(name, tile_name, "done")

    return TileStep(name, lambda tile_name: f"{name}/{tile_name}.json", mark, run)


def test_a_failure_is_recorded_and_the_record_goes_with_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx, ran = job_of(write_config(tmp_path / "run.yaml", "none", tmp_path / "out")), list[str]()
    failing: dict[str, Exception] = {NEIGHBOUR_TILES[0]: RasterError("all scenes are broken: delete them")}
    step = fake("composite", failing, ran)
    monkeypatch.setattr(step_runner, "by_name", lambda _: step)
    outcome = step_runner.run_steps(ctx, ["composite"], NEIGHBOUR_TILES[0])
    record = tmp_path / f"out/run/composite/{NEIGHBOUR_TILES[0]}.failed.json"
    assert str(outcome.error) == json.loads(record.read_text())["error"] == "all scenes are broken: delete them"
    assert json.loads(record.read_text())["kind"] == "RasterError"
    failing.clear()
    assert step_runner.run_steps(ctx, ["composite"], NEIGHBOUR_TILES[0]).error is None
    assert not record.exists()
    assert step_runner.run_steps(ctx, ["composite"], NEIGHBOUR_TILES[0]).results[0].status == "skipped"
    assert ran == [NEIGHBOUR_TILES[0]] * 2


def test_a_failed_tile_loses_what_was_made_of_older_input(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    ctx = job_of(write_config(tmp_path / "run.yaml", "none", out))
    monkeypatch.setattr(step_runner, "by_name", lambda _: fake("select", {NEIGHBOUR_TILES[0]: RasterError("broken")}, []))
    step_runner.run_steps(ctx, ["select"], NEIGHBOUR_TILES[0])
    assert not (out / f"mosaic/{NEIGHBOUR_TILES[0]}/item.json").exists()
    assert (out / f"mosaic/{NEIGHBOUR_TILES[1]}/item.json").exists()


def test_a_tile_whose_input_is_broken_is_named_and_the_rest_is_published(
    catalog: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out, broken, whole = tmp_path / "out", NEIGHBOUR_TILES[0], NEIGHBOUR_TILES[1]
    shutil.copytree(undisturbed, out)
    record = out / f"select/{broken}.json"
    record.write_text(json.dumps({"fingerprint": json.loads(record.read_text())["fingerprint"]}))
    (out / f"scenes/{broken}/acquired.json").unlink()
    path = write_config(tmp_path / "run.yaml", catalog, out, extra=SMALL)
    with pytest.raises(
        InputError, match=f"published, but 1 of 2 tiles are missing: {broken} .acquire: select/{broken}"
    ):
        pod("run", path, "--workers", 1)
    published = json.loads((out / "catalog.json").read_text())
    assert list(published["s2ops:missing"]) == [broken]
    assert f"./{whole}/item.json" in (out / "mosaic/collection.json").read_text()
    assert broken not in (out / "mosaic/collection.json").read_text()
    item = json.loads((out / f"mosaic/{whole}/item.json").read_text())
    assert list(item["properties"]["s2ops:composites"]) == [whole]
    assert not [one for one in verify(Store(str(out)), pixels=False) if one.key.startswith(f"mosaic/{whole}")]
    with pytest.raises(InputError, match=f"published, but 1 of 2 tiles are missing: {broken}"):
        pods(path, tmp_path)
    record.unlink()
    pod("run", path, "--workers", 1)
    assert compute_checksums(out) == compute_checksums(undisturbed)


def test_a_tile_without_input_is_not_pending_and_no_input_anywhere_is_an_error(tmp_path: Path) -> None:
    ctx = job_of(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))

    def mark(_: RunContext, one: object) -> DoneMarker:
        if ctx.store.has_key(f"composite/{one.name}"):  # type: ignore[attr-defined]
            return DoneMarker("x", "f")
        raise MissingInput("run the step composite first")

    step = TileStep("blend", str, mark, lambda *_: StepResult("blend", "", "done"))
    with pytest.raises(MissingInput, match="run the step composite first"):
        step_runner.list_pending([step], ctx)
    ctx.store.put(f"composite/{NEIGHBOUR_TILES[1]}", b"")
    assert step_runner.list_pending([step], ctx) == [NEIGHBOUR_TILES[1]]


def test_a_pod_that_is_told_to_stop_ends_with_75_and_continues_to_the_same_bytes(
    catalog: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = write_config(tmp_path / "run.yaml", catalog, out, extra=SMALL)
    pod("group", "scenes", path, "--list", tmp_path / "list.json")
    process = subprocess.Popen(build_command("stage", "scenes", path, "--group", 0), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(out.glob("select/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 75, said
    assert "terminated; run the same command again" in said
    pod("stage", "scenes", path, "--group", 0)
    made = {key: value for key, value in compute_checksums(out).items() if key.startswith(("select/", "scenes/", "composite/"))}
    assert made.items() <= compute_checksums(undisturbed).items()
    assert len(made) == len(
        [key for key in compute_checksums(undisturbed) if key.split("/")[0] in {"select", "scenes", "composite"}]
    )


def test_an_error_is_left_where_kubernetes_takes_it_from(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    done = run_s2ops("step", "plan", "-", S2OPS_CONFIG="region: {tiles: [99XYZ]}", S2OPS_TERMINATION_LOG=str(log))
    assert done.returncode == 2
    assert log.read_text() in done.stderr
    assert "dates: Field required" in log.read_text()
