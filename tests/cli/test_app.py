"""Command-line application: version, help panels, and the format of log events."""

import json
import logging
from importlib.metadata import version

import pytest
import typer
from typer.testing import CliRunner

import s2ops
from s2ops.cli import options, progress
from s2ops.cli.app import app
from s2ops.errors import RasterError
from s2ops.results import StepResult
from s2ops.telemetry.log_config import configure_logging

PANELS = {
    options.RUN_PANEL: {"run", "plan", "simulate", "schema", "submit"},
    options.INSPECT_PANEL: {"explain", "verify", "view", "truth", "areas"},
    options.SINGLE_FILES_PANEL: {"mask", "enhance", "classify"},
    options.MODELS_PANEL: {"train", "score", "models", "serve"},
    options.CLUSTER_PANEL: {"step", "group", "stage"},
}


def test_version_option_prints_the_version_of_the_package() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == f"s2ops {version('s2ops')}\n"
    assert s2ops.__version__ == version("s2ops")


def test_help_lists_each_command_in_its_panel() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    found: dict[str, set[str]] = {}
    for name, command in commands.items():
        found.setdefault(command.rich_help_panel, set()).add(name)
    assert found == PANELS


def test_help_has_a_text_for_every_option_and_argument() -> None:
    def list_parameters(command: typer.core.TyperCommand | typer.core.TyperGroup) -> list[object]:
        nested = getattr(command, "commands", {}).values()
        return [*command.params, *(parameter for one in nested for parameter in list_parameters(one))]

    for parameter in list_parameters(typer.main.get_command(app)):  # type: ignore[arg-type]
        text = getattr(parameter, "help", None)
        assert text, parameter
        assert text[0].isupper() or text.startswith("scorecard.json"), text
        assert text.endswith("."), text


def test_log_progress_writes_json_lines_with_the_same_keys_as_the_events(capsys: pytest.CaptureFixture[str]) -> None:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        configure_logging("json")
        reporter = progress.build_progress("json")
        reporter.start_stage("select", 2, 1)
        reporter.report_result(StepResult("select", "33TWL", "done", {"candidates": 3}))
        reporter.report_failure("select", "33TWM", RasterError("B04.tif is truncated: download it again."))
        reporter.close()
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [set(line) for line in lines] == [
        {"time", "event", "step", "total", "pending"},
        {"time", "event", "step", "tile", "status", "facts"},
        {"time", "event", "step", "tile", "error", "exit_code"},
    ]
    assert [line["event"] for line in lines] == ["stage", "tile", "failed"]
    assert (lines[0]["total"], lines[0]["pending"]) == (2, 1)
    assert lines[1]["facts"] == {"candidates": 3}
    assert lines[2]["exit_code"] == 2
