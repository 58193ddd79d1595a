"""A refresh takes what improves a tile, says why, and leaves everything else as it is."""

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
from s2ops.selection.refresh import renew
from s2ops.selection.scene_selection import Look, Rule
from s2ops.simulate.writer import simulate
from tests.helpers.chain import ROW, bytes_of, command, s2ops, write_config

RULE = Rule(date(2023, 6, 1), date(2023, 9, 1), date(2023, 9, 1), 3, Selection())
ASKED = Refresh()


def look(name: str, day: date, left: float = 0.0, right: float = 1.0, haze: float = 0.0) -> Look:
    """Clear between two parts of the width."""
    clear = np.zeros((10, 200), np.bool_)
    clear[:, round(left * 200) : round(right * 200)] = True
    return Look(name, day, haze, clear, np.ones_like(clear))


OLD = look("old", date(2023, 6, 10), 0, 0.9)


def test_a_clear_newer_scene_replaces_the_list_that_it_covers() -> None:
    found = renew([OLD], [look("new", date(2023, 8, 20))], RULE, ASKED)
    assert (found.selected, found.taken, found.dropped) == (("new",), ("new",), ("old",))
    assert found.verdicts["old"].decision == "spare"
    assert "fills 10.00 % of the tile" in found.verdicts["new"].reason
    assert "90.00 % at least 15 days fresher" in found.verdicts["new"].reason
    assert found.covered == 1


def test_a_newer_scene_that_shows_too_little_is_left_and_the_reason_names_the_thresholds() -> None:
    found = renew([OLD], [look("new", date(2023, 8, 20), 0.0, 0.05)], RULE, ASKED)
    assert (found.selected, found.taken) == (("old",), ())
    assert found.verdicts["new"].reason.startswith("newer: fills 0.00 % of the tile (0.20 % asked for), makes 5.00 %")


def test_a_scene_of_the_same_days_is_taken_for_a_hole_only() -> None:
    near = date(2023, 6, 15)
    assert renew([OLD], [look("new", near, 0.0, 0.9)], RULE, ASKED).taken == ()
    assert renew([OLD], [look("new", near, 0.5, 1.0)], RULE, ASKED).taken == ("new",)


def test_a_clearer_scene_takes_haze_away_even_if_it_is_hardly_younger() -> None:
    hazy = look("old", date(2023, 6, 10), haze=0.8)
    found = renew([hazy], [look("new", date(2023, 6, 12), 0.0, 0.5, haze=0.1)], RULE, ASKED)
    assert found.selected == ("new", "old")
    assert "takes haze from 50.00 %" in found.verdicts["new"].reason


def test_a_hazy_newer_scene_does_not_cover_a_clear_older_one() -> None:
    assert renew([look("old", date(2023, 6, 10))], [look("new", date(2023, 8, 20), haze=0.9)], RULE, ASKED).taken == ()


def test_the_cap_of_scenes_holds() -> None:
    base = [look(str(n), date(2023, 6, 10), n / 4, (n + 1) / 4) for n in range(3)]
    found = renew(base, [look("new", date(2023, 8, 20), 0.75, 1.0)], RULE, ASKED)
    assert found.taken == ()
    assert "but the cap of 3 scenes is reached" in found.verdicts["new"].reason


def test_the_order_of_newer_scenes_does_not_matter() -> None:
    newer = [look("a", date(2023, 8, 20), 0, 0.5), look("b", date(2023, 8, 25), 0.4, 1), look("c", date(2023, 7, 1))]
    found = renew([OLD], newer, RULE, ASKED)
    assert renew([OLD], newer[::-1], RULE, ASKED) == found
    assert found.taken == (
        "b",
        "a",
    )


def test_a_tile_without_a_list_takes_what_there_is() -> None:
    assert renew([], [look("new", date(2023, 8, 20))], RULE, ASKED).selected == ("new",)
    assert renew([], [], RULE, ASKED).selected == ()


def test_a_scene_cannot_be_both() -> None:
    with pytest.raises(InputError, match="old is both in the list and newer"):
        renew([OLD], [OLD], RULE, ASKED)


# the chain

SINCE = "2023-07-01"
NEWER = date(2023, 7, 12)


def newer(folder: Path, names: Sequence[str], cloudiness: float) -> Path:
    return simulate(folder, [parse_tile(name) for name in names], [NEWER], 120, seed=5, cloudiness=cloudiness, workers=2)


def with_scenes(catalog: Path, other: Path, names: tuple[str, ...], to: Path) -> Path:
    """A copy of a world's catalog with the scenes of another over some tiles."""
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
    done = s2ops("run", write_config(folder / "run.yaml", three_tiles, folder / "out", ROW, looks=1), "--workers", 2)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def again(before: Path, tmp_path: Path) -> Callable[[Path], Path]:
    """The configuration that goes on from a copy of the run with another catalog."""
    shutil.copytree(before / "out", tmp_path / "out")
    return lambda catalog: write_config(tmp_path / "run.yaml", catalog, tmp_path / "out", ROW, looks=1)


def steps(stderr: str) -> dict[str, int]:
    """Tiles that each step had work for, from the progress on stderr."""
    events = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]
    return {event["step"]: event["pending"] for event in events if "pending" in event}


def refresh(config: Path) -> dict[str, int]:
    done = s2ops("run", config, "--workers", 2, "--since", SINCE, "--log-format", "json")
    assert done.returncode == 0, done.stderr
    return steps(done.stderr)


CHAIN = ("acquire", "composite", "balance", "blend", "landcover", "publish")


def test_without_newer_scenes_nothing_runs(
    three_tiles: Path, before: Path, again: Callable[[Path], Path], tmp_path: Path
) -> None:
    pending = refresh(again(three_tiles))
    assert pending.pop("plan") == 1  # it states the configuration
    assert set(pending.values()) == {0}
    assert {key: value for key, value in bytes_of(tmp_path / "out").items() if key != "plan/plan.json"} == {
        key: value for key, value in bytes_of(before / "out").items() if key != "plan/plan.json"
    }


def test_cloudier_scenes_rewrite_nothing_and_are_explained(
    three_tiles: Path, again: Callable[[Path], Path], tmp_path: Path
) -> None:
    cloudy = newer(tmp_path / "cloudy", ROW, 0.97)
    config = again(with_scenes(three_tiles, cloudy, ROW, tmp_path / "both"))
    config.write_text(config.read_text().replace("max_cloud: 95", "max_cloud: 100"))  # so that they are candidates
    pending = refresh(config)
    assert pending["select"] == 3
    assert [pending[step] for step in CHAIN] == [0] * len(CHAIN)
    told = s2ops("explain", tmp_path / "out", "33TUM", "--picture", tmp_path / "picture.png").stdout
    assert f"refreshed since {SINCE}: no newer scene improves it: nothing changed" in " ".join(told.split())
    assert "newer: fills" in told


def test_a_clear_scene_of_one_tile_rewrites_it_and_its_neighbours_blend(
    three_tiles: Path, before: Path, again: Callable[[Path], Path], tmp_path: Path
) -> None:
    clear = newer(tmp_path / "clear", ["33TUM"], 0.0)
    config = again(with_scenes(three_tiles, clear, ("33TUM",), tmp_path / "both"))
    fresh = tmp_path / "fresh"
    shutil.copytree(tmp_path / "out", fresh)
    pending = refresh(config)
    assert pending == {
        "plan": 1,
        "select": 1,
        "acquire": 1,
        "composite": 1,
        "balance": 1,
        "blend": 2,
        "landcover": 3,
        "publish": 1,
    }  # fmt: skip -- the far tile's land cover looks at the mosaic of the middle one
    after, earlier = bytes_of(tmp_path / "out"), bytes_of(before / "out")
    changed = {key.split("/")[1] for key in after if key.startswith("mosaic/") and after[key] != earlier.get(key)}
    assert changed - {"collection.json"} == {"32TQS", "33TUM"}
    record = json.loads((tmp_path / "out/select/33TUM.json").read_text())
    assert record["selected"][0] == record["renewed"]["taken"][0] == "S2A_33TUM_20230712_0_L2A"
    found = [line for line in s2ops("verify", tmp_path / "out").stdout.splitlines() if line.startswith("error")]
    # nothing is broken; at 120 m a month of change between two tiles may cost a tenth of the texture in their overlap
    assert [line for line in found if "of the gradient energy is left" not in line] == []
    assert set(refresh(config).values()) == {0}

    # killed in the middle, and run again
    shutil.rmtree(tmp_path / "out")
    fresh.rename(tmp_path / "out")
    for seconds in (3, 7):
        words = command("run", config, "--workers", 1, "--since", SINCE)
        process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    refresh(config)
    assert bytes_of(tmp_path / "out") == after


def test_since_must_lie_within_the_dates(before: Path) -> None:
    done = s2ops("run", before / "run.yaml", "--since", "2024-01-01")
    assert done.returncode == 2
    assert "since 2024-01-01 lies outside dates (2023-06-01 to 2023-07-31): move the end of dates" in done.stderr
