"""Logging configuration: events keep their fields in both formats."""

import json
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from s2ops.telemetry.log_config import LogFormat, configure_logging, get_log_format
from tests.helpers.chain import NEIGHBOUR_TILES, copy_world, run_s2ops, write_config

LOG = logging.getLogger("s2ops.any_module")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """Other tests' loggers, as pytest has set them up."""
    root, ours = logging.getLogger(), logging.getLogger("s2ops")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def log_any_event() -> None:
    LOG.warning("scene left out", extra={"scene": "S2A_33TWL", "tile": "33TWL", "reason": 'B04 is "broken": mend it'})


def test_text_format_appends_the_fields_to_the_event(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text")
    log_any_event()
    expected = r'scene left out scene=S2A_33TWL tile=33TWL reason="B04 is \"broken\": mend it"'
    assert capsys.readouterr().err == expected + "\n"


def test_json_format_writes_one_object_per_line_with_sorted_keys(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    log_any_event()
    LOG.info("tile", extra={"step": "acquire", "facts": {"scenes": 3}})
    first, second = capsys.readouterr().err.splitlines()
    event = json.loads(first)
    assert list(event) == ["event", "level", "reason", "scene", "tile", "time"]
    assert event.pop("time") > 1.7e9
    assert event == {
        "event": "scene left out", "level": "warning", "scene": "S2A_33TWL", "tile": "33TWL",
        "reason": 'B04 is "broken": mend it',
    }  # fmt: skip
    assert list(json.loads(second)) == ["event", "facts", "step", "time"]


def test_configure_logging_twice_writes_each_event_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text")
    configure_logging("json")
    configure_logging("json")
    log_any_event()
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert get_log_format() == "json"


def test_third_party_events_begin_at_warning_and_name_their_logger(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("text")
    logging.getLogger("rasterio._env").info("block cache")
    logging.getLogger("rasterio._env").warning("driver %s is missing", "X")
    assert capsys.readouterr().err == "driver X is missing logger=rasterio._env\n"


def test_configured_log_format_is_none_before_configure_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # commands in other test files configure logging too
    assert get_log_format() is None


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_step_logs_the_scene_tile_and_reason_of_a_broken_item(
    log_format: LogFormat, two_tiles: Path, tmp_path: Path
) -> None:
    catalog = copy_world(two_tiles.parent, tmp_path / "world")
    item = next(catalog.parent.glob(f"sentinel-2-l2a/*{NEIGHBOUR_TILES[0]}_20230602*/*.json"))
    document = json.loads(item.read_text())
    del document["assets"]["nir"]
    item.write_text(json.dumps(document))
    config = write_config(tmp_path / "run.yaml", catalog, tmp_path / "out")
    done = run_s2ops("step", "select", config, "--tile", NEIGHBOUR_TILES[0], "--log-format", log_format)
    assert done.returncode == 0, done.stderr
    if log_format == "json":
        (event,) = [one for one in map(json.loads, done.stderr.splitlines()) if one["event"] == "scene left out"]
    else:
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("scene left out ")]
        event = dict(word.split("=", 1) for word in shlex.split(line)[3:])
    assert event["scene"] == document["id"]
    assert event["tile"] == NEIGHBOUR_TILES[0]
    assert "nir" in event["reason"]
