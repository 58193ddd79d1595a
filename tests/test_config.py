"""Run configuration: accepted values, and messages for mistakes."""

import json
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml

from s2ops.config import RunConfig, parse_config
from s2ops.errors import ConfigError
from s2ops.run.load_config import load_config

GOOD = "region: {tiles: [33TWL]}\ndates: {start: 2023-06-01, end: 2023-08-31}\nout: out\n"
ROOT = Path(__file__).parents[1]


def test_target_date_is_the_end_of_the_range_by_default() -> None:
    assert parse_config(GOOD, "run.yaml").target == date(2023, 8, 31)
    assert parse_config(GOOD + "target_date: 2023-07-01\n", "run.yaml").target == date(2023, 7, 1)


def test_parse_config_expands_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "/data")
    assert parse_config(GOOD + "catalog: ${DATA}/catalog.json\n", "run.yaml").catalog == "/data/catalog.json"


def test_override_replaces_a_field_and_none_does_not() -> None:
    assert parse_config(GOOD, "run.yaml", out="s3://bucket/run").out == "s3://bucket/run"
    assert parse_config(GOOD, "run.yaml", out=None).out == "out"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("tiles: [33TWL]", "tiles: [33TWL], bbox: [0, 0, 1, 1]"), "exactly one of tiles, bbox and geojson"),
        (("{tiles: [33TWL]}", "{}"), "exactly one of tiles, bbox and geojson"),
        (("end: 2023-08-31", "end: 2023-05-01"), "the date range is empty: end 2023-05-01"),
        (("out: out", "out: out\nresolution: 15"), r"resolution.*given: 15"),
        (("out: out", "out: out\nmax_cloud: 140"), r"max_cloud.*given: 140"),
        (("out: out", "out: out\nmax_scene: 4"), "max_scene"),
        (("out: out", ""), "out: Field required"),
        (("out: out", "out: [unclosed"), "not valid YAML"),
    ],
)
def test_parse_config_names_a_mistake_with_its_value(change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(GOOD.replace(*change), "run.yaml")


def test_load_config_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read the configuration .*nothing\.yaml"):
        load_config(tmp_path / "nothing.yaml")


def test_schema_documents_every_field() -> None:
    schema = RunConfig.model_json_schema()
    for part in (schema, *schema["$defs"].values()):
        for name, field in part["properties"].items():
            assert "description" in field or "$ref" in field or "allOf" in field, name


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_match_the_schema_and_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S2OPS_REAL_DATA", "/data")
    data = json.loads(json.dumps(yaml.safe_load(path.read_text()), default=str))
    jsonschema.validate(data, json.loads((ROOT / "docs/reference/config.schema.json").read_text()))
    assert load_config(path).out
