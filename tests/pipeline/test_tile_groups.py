"""Tile groups and stages: pods of a cluster write the same bytes as `s2ops run`, whatever fails."""

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
from s2ops.geo.mgrs_tiles import Tile, parse_tile
from s2ops.pipeline import step_runner, tile_groups
from s2ops.pipeline.steps import TileStep
from s2ops.quality.verify import verify
from s2ops.results import StepName, StepResult
from s2ops.run.context import RunContext
from s2ops.run.load_config import load_config
from s2ops.storage.object_store import Store
from tests.helpers.chain import NEIGHBOUR_TILES, build_command, compute_checksums, run_s2ops, write_config

SMALL = "landcover: {enabled: false}\n"
"""Land cover takes most of the time and is a stage like the others; test_local_engine.py runs it."""


@pytest.fixture(scope="module")
def catalog(two_tiles: Path) -> Path:
    return two_tiles


@pytest.fixture(scope="module")
def undisturbed(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    done = run_s2ops("run", write_config(out.parent / "run.yaml", catalog, out, extra=SMALL), "--workers", 1)
    assert done.returncode == 0, done.stderr
    return out


def build_context(path: Path) -> RunContext:
    return RunContext(load_config(path), tuple(parse_tile(name) for name in NEIGHBOUR_TILES), 1)


def run_pod(*words: object) -> None:
    """Run the command of a pod in this process, because starting a process takes longer than the work."""
    app([str(word) for word in words], standalone_mode=False)


def run_workflow(path: Path, folder: Path) -> dict[str, list[Mapping[str, str]]]:
    """Run the commands of the workflow in sequence, and return the child workflows of each stage."""
    started = {}

    def run_stage(name: str) -> None:
        listing = folder / f"{name}.json"
        run_pod("group", name, path, "--size", 1, "--child", 2, "--list", listing)
        started[name] = json.loads(listing.read_text())
        for child in started[name]:
            for group in range(int(child["first"]), int(child["last"]) + 1):
                run_pod("stage", name, path, "--group", f"{group:03d}", "--counts", folder / "counts")

    run_pod("step", "plan", path)
    run_stage("scenes")
    run_pod("step", "balance", path)
    run_stage("blend")
    run_stage("landcover")
    run_pod("step", "publish", path)
    return started


def test_pods_write_the_bytes_of_one_machine_and_a_second_run_starts_none(
    catalog: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    path = write_config(tmp_path / "run.yaml", catalog, out, extra=SMALL)
    progress = tmp_path / "progress"
    monkeypatch.setenv("ARGO_PROGRESS_FILE", str(progress))
    first = run_workflow(path, tmp_path)
    assert first == {"scenes": [{"first": "0", "last": "1"}], "blend": [{"first": "0", "last": "1"}], "landcover": []}
    assert progress.read_text() == "1/1\n"
    assert (tmp_path / "counts/made").read_text() == "1"
    assert compute_checksums(out) == compute_checksums(undisturbed)
    assert run_workflow(path, tmp_path) == {"scenes": [], "blend": [], "landcover": []}
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
def test_write_groups_splits_groups_into_child_workflows(
    tmp_path: Path, tiles: int, size: int, child: int, children: list[object]
) -> None:
    ctx = build_context(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))
    names = [f"T{number}" for number in range(tiles)]
    made = tile_groups.write_groups(ctx, "blend", names, size, child)
    assert [(one.first, one.last) for one in made] == children
    written = [json.loads(path.read_text())["tiles"] for path in sorted((tmp_path / "out/plan").rglob("*.json"))]
    assert [name for group in written for name in group] == names
    assert all(len(group) <= size for group in written)


@pytest.mark.parametrize(("size", "child"), [(0, 500), (16, 501), (17, 16)])
def test_write_groups_rejects_sizes_that_do_not_fit(tmp_path: Path, size: int, child: int) -> None:
    ctx = build_context(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))
    with pytest.raises(
        ConfigError, match=f"{size} tiles per group and {child} per child workflow; use 1 <= size <= child <= 500"
    ):
        tile_groups.write_groups(ctx, "blend", [], size, child)


def test_read_group_returns_the_number_of_tiles_of_the_whole_stage(tmp_path: Path) -> None:
    ctx = build_context(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))
    tile_groups.write_groups(ctx, "blend", NEIGHBOUR_TILES, 1, 1)
    assert tile_groups.read_group(ctx, "blend", 1) == tile_groups.TileGroup([NEIGHBOUR_TILES[1]], 2)


def test_read_group_rejects_a_group_of_another_run(tmp_path: Path) -> None:
    ctx = build_context(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))
    with pytest.raises(InputError, match=r"has no plan/groups/blend/007\.json; run s2ops group blend first"):
        tile_groups.read_group(ctx, "blend", 7)
    tile_groups.write_groups(ctx, "blend", ["33TWL"], 1, 1)
    with pytest.raises(InputError, match="its region does not have 33TWL"):
        tile_groups.read_group(ctx, "blend", 0)


def test_group_command_names_the_earlier_step_that_has_not_run(catalog: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "run.yaml", catalog, tmp_path / "out", extra=SMALL)
    with pytest.raises(MissingInput, match="run the step balance for"):
        run_pod("group", "blend", path, "--list", tmp_path / "list.json")


def build_step(name: StepName, failing: Mapping[str, Exception], ran: list[str]) -> TileStep[None]:
    """Build a step that writes its marker, and fails for some tiles."""

    def run(ctx: RunContext, tile: Tile, _: None) -> StepResult:
        ran.append(tile.name)
        if tile.name in failing:
            raise failing[tile.name]
        ctx.store.put(f"{name}/{tile.name}.json", b'{"fingerprint": "f"}')
        return StepResult(name, tile.name, "done")

    return TileStep(name, lambda tile: f"{name}/{tile}.json", lambda *_: None, lambda _: "f", run)


def test_run_steps_records_a_failure_and_deletes_the_record_after_success(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx, ran = build_context(write_config(tmp_path / "run.yaml", "none", tmp_path / "out")), list[str]()
    failing: dict[str, Exception] = {NEIGHBOUR_TILES[0]: RasterError("all scenes are broken: delete them")}
    step = build_step(StepName.COMPOSITE, failing, ran)
    monkeypatch.setattr(step_runner, "get_step", lambda _: step)
    outcome = step_runner.run_steps(ctx, ["composite"], NEIGHBOUR_TILES[0])
    record = tmp_path / f"out/run/composite/{NEIGHBOUR_TILES[0]}.failed.json"
    assert str(outcome.error) == json.loads(record.read_text())["error"] == "all scenes are broken: delete them"
    assert json.loads(record.read_text())["kind"] == "RasterError"
    failing.clear()
    assert step_runner.run_steps(ctx, ["composite"], NEIGHBOUR_TILES[0]).error is None
    assert not record.exists()
    assert step_runner.run_steps(ctx, ["composite"], NEIGHBOUR_TILES[0]).results[0].status == "skipped"
    assert ran == [NEIGHBOUR_TILES[0]] * 2


def test_run_steps_deletes_markers_of_a_failed_tile_that_older_input_made(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    ctx = build_context(write_config(tmp_path / "run.yaml", "none", out))
    step = build_step(StepName.SELECT, {NEIGHBOUR_TILES[0]: RasterError("broken")}, [])
    monkeypatch.setattr(step_runner, "get_step", lambda _: step)
    step_runner.run_steps(ctx, ["select"], NEIGHBOUR_TILES[0])
    assert not (out / f"mosaic/{NEIGHBOUR_TILES[0]}/item.json").exists()
    assert (out / f"mosaic/{NEIGHBOUR_TILES[1]}/item.json").exists()


def test_publish_lists_a_tile_with_broken_input_and_publishes_the_others(
    catalog: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out, broken, whole = tmp_path / "out", NEIGHBOUR_TILES[0], NEIGHBOUR_TILES[1]
    shutil.copytree(undisturbed, out)
    record = out / f"select/{broken}.json"
    record.write_text(json.dumps({"fingerprint": json.loads(record.read_text())["fingerprint"]}))
    (out / f"scenes/{broken}/acquired.json").unlink()
    path = write_config(tmp_path / "run.yaml", catalog, out, extra=SMALL)
    with pytest.raises(InputError, match=f"Published without 1 of 2 tiles: {broken} .acquire: select/{broken}"):
        run_pod("run", path, "--workers", 1)
    published = json.loads((out / "catalog.json").read_text())
    assert list(published["s2ops:missing"]) == [broken]
    assert f"./{whole}/item.json" in (out / "mosaic/collection.json").read_text()
    assert broken not in (out / "mosaic/collection.json").read_text()
    item = json.loads((out / f"mosaic/{whole}/item.json").read_text())
    assert list(item["properties"]["s2ops:composites"]) == [whole]
    assert not [one for one in verify(Store(str(out)), pixels=False) if one.key.startswith(f"mosaic/{whole}")]
    with pytest.raises(InputError, match=f"Published without 1 of 2 tiles: {broken}"):
        run_workflow(path, tmp_path)
    record.unlink()
    run_pod("run", path, "--workers", 1)
    assert compute_checksums(out) == compute_checksums(undisturbed)


def test_list_pending_leaves_out_tiles_without_input_and_raises_if_no_tile_has_input(tmp_path: Path) -> None:
    ctx = build_context(write_config(tmp_path / "run.yaml", "none", tmp_path / "out"))

    def prepare(_: RunContext, tile: Tile) -> None:
        if not ctx.store.has_key(f"composite/{tile.name}"):
            raise MissingInput("run the step composite first")

    def run(_: RunContext, tile: Tile, __: None) -> StepResult:
        return StepResult(StepName.BLEND, tile.name, "done")

    step = TileStep(StepName.BLEND, str, prepare, lambda _: "f", run)
    with pytest.raises(MissingInput, match="run the step composite first"):
        step_runner.list_pending([step], ctx)
    ctx.store.put(f"composite/{NEIGHBOUR_TILES[1]}", b"")
    assert step_runner.list_pending([step], ctx) == [NEIGHBOUR_TILES[1]]


def test_terminated_pod_exits_with_75_and_continues_to_the_same_bytes(
    catalog: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    path = write_config(tmp_path / "run.yaml", catalog, out, extra=SMALL)
    run_pod("group", "scenes", path, "--list", tmp_path / "list.json")
    process = subprocess.Popen(build_command("stage", "scenes", path, "--group", 0), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list(out.glob("select/*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 75, stderr
    assert "terminated; run the same command again" in stderr
    run_pod("stage", "scenes", path, "--group", 0)
    written = {
        key: value
        for key, value in compute_checksums(out).items()
        if key.startswith(("select/", "scenes/", "composite/"))
    }
    assert written.items() <= compute_checksums(undisturbed).items()
    assert len(written) == len(
        [key for key in compute_checksums(undisturbed) if key.split("/")[0] in {"select", "scenes", "composite"}]
    )


def test_error_is_written_to_the_termination_log_of_kubernetes(tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    done = run_s2ops("step", "plan", "-", S2OPS_CONFIG="region: {tiles: [99XYZ]}", S2OPS_TERMINATION_LOG=str(log))
    assert done.returncode == 2
    assert log.read_text() in done.stderr
    assert "dates: Field required" in log.read_text()
