from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autosearch.spec import load_spec
from autosearch.spec.reading import read_value
from autosearch.spec.writing import write_yaml

DATA = Path(__file__).parent / "data"
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\ufeff"), max_size=30
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXTS,
    st.sampled_from(
        [
            "1e-3",
            "no",
            "true",
            "null",
            "~",
            "",
            "0x1",
            "1_0",
            "a: b",
            "# x",
            "- a",
            ".inf",
            "<<",
            "!x",
            "&a",
            "*a",
        ]
    ),
)
VALUES = st.recursive(
    SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(TEXTS, v, max_size=3), max_leaves=8
)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.yaml")), ids=lambda path: path.name)
def test_the_resolved_file_is_the_same_study_from_anywhere(path: Path, tmp_path: Path) -> None:
    spec = load_spec(path)
    (tmp_path / "resolved.yaml").write_text(spec.to_yaml())
    again = load_spec(tmp_path / "resolved.yaml")
    assert again.resolved() == spec.resolved()
    assert again.space == spec.space
    assert (again.output, again.storage, again.budget, again.objectives) == (
        spec.output,
        spec.storage,
        spec.budget,
        spec.objectives,
    )


@given(st.dictionaries(TEXTS.filter(bool), VALUES, max_size=4))
def test_what_is_written_is_read_back_unchanged(data: dict[str, object]) -> None:
    found = read_value(write_yaml(data)) or {}
    assert found == data
    assert repr(found) == repr(data)
