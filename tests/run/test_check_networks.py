"""Check of a run's networks: the weights of each choice are read before any work, and faults end commands at once."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from s2ops.config import NetworkChoice, RunConfig
from s2ops.errors import InferenceUnreachable, ModelError
from s2ops.models.registry import LANDCOVER_NETWORKS, PACKAGE_WEIGHTS, list_run_networks
from s2ops.run import check_networks as module
from s2ops.run.check_networks import check_networks
from s2ops.run.context import RunContext
from tests.helpers.chain import run_s2ops
from tests.helpers.triton import find_free_ports

CHOICES: tuple[NetworkChoice, ...] = ("separate", "shared", "both")
ALL = ("preview-cloud", "preview-haze", "scene-cloud", *LANDCOVER_NETWORKS["both"])


def make_config(choice: NetworkChoice = "shared", **changes: object) -> RunConfig:
    data = {"region": {"tiles": ["33TWL"]}, "dates": {"start": "2023-06-01", "end": "2023-08-31"}, "out": "nowhere"}
    return RunConfig.model_validate({**data, "landcover": {"networks": choice}, **changes})


def check(config: RunConfig) -> None:
    check_networks(RunContext(config, ()))


def copy_weights(folder: Path, names: Iterable[str]) -> str:
    for name in names:
        shutil.copy(PACKAGE_WEIGHTS / f"{name}.onnx", folder)
    return str(folder)


@pytest.mark.parametrize("choice", CHOICES)
def test_check_accepts_the_package_and_a_folder_with_only_the_needed_networks(
    choice: NetworkChoice, tmp_path: Path
) -> None:
    check(make_config(choice))
    check(make_config(choice, models=copy_weights(tmp_path, list_run_networks(make_config(choice)))))


@pytest.mark.parametrize("choice", CHOICES)
def test_check_names_each_network_of_the_choice_that_is_missing(choice: NetworkChoice, tmp_path: Path) -> None:
    models = copy_weights(tmp_path, ALL)
    for name in list_run_networks(make_config(choice)):
        (tmp_path / f"{name}.onnx").rename(tmp_path / "away")
        with pytest.raises(ModelError, match=rf"set `models` to a folder that contains {name}\.onnx"):
            check(make_config(choice, models=models))
        (tmp_path / "away").rename(tmp_path / f"{name}.onnx")
    check(make_config(choice, models=models))


def test_check_refuses_weights_of_another_network(tmp_path: Path) -> None:
    models = copy_weights(tmp_path, ALL)
    shutil.copy(PACKAGE_WEIGHTS / "vegetation.onnx", tmp_path / "water.onnx")
    check(make_config("shared", models=models))
    with pytest.raises(ModelError, match=r"water\.onnx do not match network water: name is vegetation"):
        check(make_config("both", models=models))


def test_check_without_land_cover_needs_no_network_of_land_cover(tmp_path: Path) -> None:
    models = copy_weights(tmp_path, ("preview-cloud", "preview-haze", "scene-cloud"))
    check(make_config(models=models, landcover={"enabled": False}))


def test_check_gives_up_soon_if_no_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_PATIENCE_S", 0.5)
    (port,) = find_free_ports(1)
    with pytest.raises(InferenceUnreachable, match="No answer from triton://"):
        check(make_config(segmenter=f"triton://127.0.0.1:{port}"))


@pytest.mark.parametrize("words", [("plan", "--dry-run"), ("plan",), ("run", "--workers", "1")])
def test_commands_refuse_missing_weights_before_any_work(words: tuple[str, ...], tmp_path: Path) -> None:
    models = copy_weights(tmp_path, [name for name in ALL if name != "building"])
    out = tmp_path / "out"
    config = make_config("separate", models=models, out=str(out), catalog=str(tmp_path / "no-catalog.json"))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    done = run_s2ops(words[0], path, *words[1:])
    assert done.returncode == 2
    assert "set `models` to a folder that contains building.onnx" in done.stderr
    assert done.stdout == ""
    assert not [one for one in out.rglob("*") if one.is_file()]


def test_plan_names_a_server_that_does_not_answer_and_prints_the_estimate(tmp_path: Path) -> None:
    (port,) = find_free_ports(1)
    config = make_config(segmenter=f"triton://127.0.0.1:{port}", out=str(tmp_path / "out"))
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    done = run_s2ops("plan", path, "--dry-run", S2OPS_TRITON_PATIENCE_S="0.5")
    assert done.returncode == 0, done.stderr
    assert f"the networks were not checked: No answer from triton://127.0.0.1:{port}" in done.stderr
    assert "land cover by networks: separate" in done.stdout
