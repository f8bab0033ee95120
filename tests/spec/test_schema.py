from pathlib import Path

import jsonschema
import pytest

from autosearch.core.errors import SpecError
from autosearch.spec import json_schema, load_spec
from autosearch.spec.reading import read_file
from autosearch.spec.writing import write_yaml

ROOT = Path(__file__).parents[2]
STUDIES = sorted((Path(__file__).parent / "data").glob("*.yaml")) + sorted((ROOT / "studies").glob("*.yaml"))
BROKEN = [
    ("study", 3),
    ("seed", -1),
    ("seed", 1.5),
    ("run", {"task": "table", "command": "x"}),
    ("run", {"function": "./a.py:f", "steps": 3}),
    ("objectives", {}),
    ("objectives", {"loss": "minimise"}),
    ("space", {"lr": {"type": "float", "low": 0, "hgih": 1}}),
    ("space", {"lr": {"type": "flaot", "low": 0, "high": 1}}),
    ("space", {}),
    ("searcher", {"patience": 3}),
    ("searcher", "radnom"),
    ("budget", {"trials": 0}),
    ("budget", {"trails": 3}),
    ("resources", {"parallel": "all"}),
    ("keep", {"logs": "none"}),
    ("constraints", "size <= 3"),
    ("otput", "x"),
]


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_shipped_studies_fit_the_schema_as_written_and_resolved(
    validator: jsonschema.Draft202012Validator, path: Path
) -> None:
    validator.validate(read_file(path, path.name).data)
    validator.validate(load_spec(path).resolved())


@pytest.mark.parametrize(("key", "value"), BROKEN)
def test_what_loading_refuses_does_not_fit_the_schema(
    validator: jsonschema.Draft202012Validator, tmp_path: Path, key: str, value: object
) -> None:
    data = {**read_file(STUDIES[0], "f").data, key: value}
    assert not validator.is_valid(data)
    (tmp_path / "a.yaml").write_text(write_yaml(data))
    with pytest.raises(SpecError):
        load_spec(tmp_path / "a.yaml")


@pytest.mark.parametrize("key", ["study", "run", "objectives", "space", "budget"])
def test_the_schema_requires_what_loading_requires(
    validator: jsonschema.Draft202012Validator, key: str
) -> None:
    data = read_file(STUDIES[0], "f").data
    del data[key]
    assert not validator.is_valid(data)
