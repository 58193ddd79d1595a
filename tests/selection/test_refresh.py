"""Refresh: adds scenes that improve a tile, explains every decision, and leaves everything else unchanged."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from s2ops.config import Refresh, Selection
from s2ops.errors import InputError
from s2ops.geo.mgrs_tiles import parse_tile
from s2ops.selection.refresh import refresh_selection
from s2ops.selection.scene_selection import CostModel, PreviewCandidate
from s2ops.simulate.writer import simulate
from tests.helpers.chain import TILE_ROW, build_command, compute_checksums, run_s2ops, write_config

MODEL = CostModel(date(2023, 6, 1), date(2023, 9, 1), date(2023, 9, 1), 3, Selection())
OPTIONS = Refresh()


def make_candidate(name: str, day: date, left: float = 0.0, right: float = 1.0, haze: float = 0.0) -> PreviewCandidate:
    """Make a candidate that is clear between two fractions of the width."""
    clear = np.zeros((10, 200), np.bool_)
    clear[:, round(left * 200) : round(right * 200)] = True
    return PreviewCandidate(name, day, haze, clear, np.ones_like(clear))


OLD = make_candidate("old", date(2023, 6, 10), 0, 0.9)


def test_refresh_selection_replaces_scenes_that_a_clear_newer_scene_covers() -> None:
    found = refresh_selection([OLD], [make_candidate("new", date(2023, 8, 20))], MODEL, OPTIONS)
    assert (found.selected, found.added, found.dropped) == (("new",), ("new",), ("old",))
    assert found.decisions["old"].decision == "spare"
    assert "fills 10.00 % of the tile" in found.decisions["new"].reason
    assert "90.00 % at least 15 days more recent" in found.decisions["new"].reason
    assert found.covered == 1


def test_refresh_selection_rejects_a_newer_scene_below_the_thresholds_and_names_them() -> None:
    found = refresh_selection([OLD], [make_candidate("new", date(2023, 8, 20), 0.0, 0.05)], MODEL, OPTIONS)
    assert (found.selected, found.added) == (("old",), ())
    assert found.decisions["new"].reason.startswith(
        "Newer scene: fills 0.00 % of the tile (min_fill 0.20 %), makes 5.00 %"
    )


def test_refresh_selection_adds_a_scene_of_the_same_days_only_for_a_hole() -> None:
    near = date(2023, 6, 15)
    assert refresh_selection([OLD], [make_candidate("new", near, 0.0, 0.9)], MODEL, OPTIONS).added == ()
    assert refresh_selection([OLD], [make_candidate("new", near, 0.5, 1.0)], MODEL, OPTIONS).added == ("new",)


def test_refresh_selection_adds_a_scene_with_less_haze_even_if_it_is_hardly_more_recent() -> None:
    hazy = make_candidate("old", date(2023, 6, 10), haze=0.8)
    found = refresh_selection([hazy], [make_candidate("new", date(2023, 6, 12), 0.0, 0.5, haze=0.1)], MODEL, OPTIONS)
    assert found.selected == ("new", "old")
    assert "removes haze from 50.00 %" in found.decisions["new"].reason


def test_refresh_selection_rejects_a_hazy_newer_scene_over_a_clear_older_one() -> None:
    old, hazy = make_candidate("old", date(2023, 6, 10)), make_candidate("new", date(2023, 8, 20), haze=0.9)
    assert refresh_selection([old], [hazy], MODEL, OPTIONS).added == ()


def test_refresh_selection_respects_the_maximum_number_of_scenes() -> None:
    base = [make_candidate(str(n), date(2023, 6, 10), n / 4, (n + 1) / 4) for n in range(3)]
    found = refresh_selection(base, [make_candidate("new", date(2023, 8, 20), 0.75, 1.0)], MODEL, OPTIONS)
    assert found.added == ()
    assert "max_scenes (3) is reached" in found.decisions["new"].reason


def test_refresh_selection_does_not_depend_on_the_order_of_newer_scenes() -> None:
    newer = [
        make_candidate("a", date(2023, 8, 20), 0, 0.5),
        make_candidate("b", date(2023, 8, 25), 0.4, 1),
        make_candidate("c", date(2023, 7, 1)),
    ]
    found = refresh_selection([OLD], newer, MODEL, OPTIONS)
    assert refresh_selection([OLD], newer[::-1], MODEL, OPTIONS) == found
    assert found.added == (
        "b",
        "a",
    )


def test_refresh_selection_without_an_earlier_list_adds_every_useful_scene() -> None:
    assert refresh_selection([], [make_candidate("new", date(2023, 8, 20))], MODEL, OPTIONS).selected == ("new",)
    assert refresh_selection([], [], MODEL, OPTIONS).selected == ()


def test_refresh_selection_raises_if_a_scene_is_both_in_the_list_and_newer() -> None:
    with pytest.raises(InputError, match="old is both in the earlier list and newer"):
        refresh_selection([OLD], [OLD], MODEL, OPTIONS)


# The whole chain of steps.

SINCE = "2023-07-01"
NEWER = date(2023, 7, 12)


def simulate_newer_scenes(folder: Path, names: Sequence[str], cloudiness: float) -> Path:
    return simulate(
        folder, [parse_tile(name) for name in names], [NEWER], 120, seed=5, cloudiness=cloudiness, workers=2
    )


def copy_catalog_with_scenes(catalog: Path, other: Path, names: tuple[str, ...], to: Path) -> Path:
    """Copy a simulated catalog and add the scenes of another one over some tiles; return its path."""
    shutil.copytree(catalog.parent, to, ignore=shutil.ignore_patterns("truth"))
    listing = to / "sentinel-2-l2a/collection.json"
    collection = json.loads(listing.read_text())
    for folder in sorted((other.parent / "sentinel-2-l2a").iterdir()):
        if folder.is_dir() and any(name in folder.name for name in names):
            shutil.copytree(folder, listing.parent / folder.name)
            item = next(folder.glob("*.json")).name
            collection["links"].append({"rel": "item", "href": f"./{folder.name}/{item}"})
    listing.write_text(json.dumps(collection))
    return to / "catalog.json"


@pytest.fixture(scope="module")
def before(three_tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over June."""
    folder = tmp_path_factory.mktemp("refresh")
    done = run_s2ops(
        "run", write_config(folder / "run.yaml", three_tiles, folder / "out", TILE_ROW, max_dates=1), "--workers", 2
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def again(before: Path, tmp_path: Path) -> Callable[[Path], Path]:
    """The configuration that goes on from a copy of the run with another catalog."""
    shutil.copytree(before / "out", tmp_path / "out")
    return lambda catalog: write_config(tmp_path / "run.yaml", catalog, tmp_path / "out", TILE_ROW, max_dates=1)


def count_pending(stderr: str) -> dict[str, int]:
    """Count the tiles that each step had to process, from the progress lines on stderr."""
    events = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return {event["step"]: event["pending"] for event in events if "pending" in event}


def run_refresh(config: Path) -> dict[str, int]:
    done = run_s2ops("run", config, "--workers", 2, "--since", SINCE, "--log-format", "json")
    assert done.returncode == 0, done.stderr
    return count_pending(done.stderr)


CHAIN = ("acquire", "composite", "balance", "blend", "landcover", "publish")


def test_refresh_without_newer_scenes_runs_no_step(
    three_tiles: Path, before: Path, again: Callable[[Path], Path], tmp_path: Path
) -> None:
    pending = run_refresh(again(three_tiles))
    assert pending.pop("plan") == 1  # its output contains the configuration
    assert set(pending.values()) == {0}
    assert {key: value for key, value in compute_checksums(tmp_path / "out").items() if key != "plan/plan.json"} == {
        key: value for key, value in compute_checksums(before / "out").items() if key != "plan/plan.json"
    }


def test_refresh_with_cloudier_scenes_rewrites_nothing_and_explains_them(
    three_tiles: Path, again: Callable[[Path], Path], tmp_path: Path
) -> None:
    cloudy = simulate_newer_scenes(tmp_path / "cloudy", TILE_ROW, 0.97)
    config = again(copy_catalog_with_scenes(three_tiles, cloudy, TILE_ROW, tmp_path / "both"))
    config.write_text(config.read_text().replace("max_cloud: 95", "max_cloud: 100"))  # so that they are candidates
    pending = run_refresh(config)
    assert pending["select"] == 3
    assert [pending[step] for step in CHAIN] == [0] * len(CHAIN)
    explained = run_s2ops("explain", tmp_path / "out", "33TUM", "--picture", tmp_path / "picture.png").stdout
    assert f"refreshed since {SINCE}: no newer scene improves the tile" in " ".join(explained.split())
    assert "Newer scene: fills" in explained


def test_refresh_with_a_clear_scene_of_one_tile_rewrites_it_and_its_neighbours_blend(
    three_tiles: Path, before: Path, again: Callable[[Path], Path], tmp_path: Path
) -> None:
    clear = simulate_newer_scenes(tmp_path / "clear", ["33TUM"], 0.0)
    config = again(copy_catalog_with_scenes(three_tiles, clear, ("33TUM",), tmp_path / "both"))
    fresh = tmp_path / "fresh"
    shutil.copytree(tmp_path / "out", fresh)
    pending = run_refresh(config)
    assert pending == {
        "plan": 1,
        "select": 1,
        "acquire": 1,
        "composite": 1,
        "balance": 1,
        "blend": 2,
        "landcover": 3,
        "publish": 1,
    }  # fmt: skip -- the far tile's land cover reads the mosaic of the middle one
    after, earlier = compute_checksums(tmp_path / "out"), compute_checksums(before / "out")
    changed = {key.split("/")[1] for key in after if key.startswith("mosaic/") and after[key] != earlier.get(key)}
    assert changed - {"collection.json"} == {"32TQS", "33TUM"}
    record = json.loads((tmp_path / "out/select/33TUM.json").read_text())
    assert record["selected"][0] == record["renewed"]["taken"][0] == "S2A_33TUM_20230712_0_L2A"
    found = [line for line in run_s2ops("verify", tmp_path / "out").stdout.splitlines() if line.startswith("error")]
    # nothing is broken; at 120 m a month of change between two tiles may cost a tenth of the texture in their overlap
    assert [line for line in found if "of the gradient energy is left" not in line] == []
    assert set(run_refresh(config).values()) == {0}

    # killed in the middle, and run again
    shutil.rmtree(tmp_path / "out")
    fresh.rename(tmp_path / "out")
    for seconds in (3, 7):
        words = build_command("run", config, "--workers", 1, "--since", SINCE)
        process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    run_refresh(config)
    assert compute_checksums(tmp_path / "out") == after


def test_refresh_raises_if_since_lies_outside_the_dates(before: Path) -> None:
    done = run_s2ops("run", before / "run.yaml", "--since", "2024-01-01")
    assert done.returncode == 2
    assert "since 2024-01-01 is outside dates (2023-06-01 to 2023-07-31); move the end of dates" in done.stderr
