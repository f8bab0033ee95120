"""Any file is either a study or refused line by line: in time, without another exception, without running anything."""

import os
import random
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from spec.mutations import CANARY, EXTREMES, mutate

from autosearch.core.errors import SpecError
from autosearch.spec import load_spec

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "tests/spec/data").glob("*.yaml")) + sorted((ROOT / "studies").glob("*.yaml"))
LINE = re.compile(
    r"(a|spaces/\w+)\.yaml:(\d+:\d+( \S.*)?| and \d+ problems more|): \S.*|a\.yaml: and \d+ problems more"
)
RUNS = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "webbrowser.open",
    "shutil.rmtree",
    "socket.connect",
)
_caught: list[str] | None = None


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _caught is not None and event in RUNS:
        _caught.append(event)


sys.addaudithook(_hook)  # hooks stay for the life of the process; this one is asleep outside `judge`


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "tests/spec/data/spaces", "spaces")
    shutil.copy(ROOT / "tests/spec/data/train.py", "train.py")
    return tmp_path


def judge(content: bytes, name: str) -> bool:
    """Whether the file is a study; fails unless it is one or is refused as it must be."""
    global _caught
    Path("a.yaml").write_bytes(content)
    _caught = []
    start = time.process_time()
    problems = None
    try:
        load_spec("a.yaml")
    except SpecError as error:
        problems = error.problems
    finally:
        caught, _caught = _caught, None
    assert time.process_time() - start < 5, name
    assert problems != [], name
    for line in problems or ():
        assert LINE.fullmatch(line), f"{name}: {line!r}"
        assert line.isprintable(), f"{name}: {line!r}"
    assert not caught, name
    assert not os.path.lexists(CANARY), name
    return problems is None


@pytest.mark.parametrize("block", range(20))
def test_a_mutated_study_is_valid_or_refused_with_its_place(block: int) -> None:
    valid = 0
    for seed in range(50 * block, 50 * block + 50):
        text = STUDIES[seed % len(STUDIES)].read_text()
        valid += judge(mutate(text, seed), f"seed {seed}")
    assert valid < 50


@pytest.mark.parametrize("mutator", EXTREMES, ids=lambda mutator: mutator.__name__)
def test_an_extreme_file_is_refused_in_time(mutator: Any) -> None:
    for seed in range(5):
        text = mutator(STUDIES[0].read_text(), random.Random(seed))
        assert not judge(text.encode(), f"{mutator.__name__} {seed}")


def test_the_studies_themselves_are_valid() -> None:
    shutil.copytree(ROOT / "studies" / "code", "code")
    for path in STUDIES:
        assert judge(path.read_bytes(), path.name)
