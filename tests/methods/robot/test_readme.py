"""The study file of the method's README, and those that ship."""

import re
from pathlib import Path

import pytest

import autosearch
from autosearch.methods import robot
from autosearch.methods.robot.metrics import METRICS, PAPER_METRICS
from autosearch.methods.robot.searcher import MODERN_METRICS, RobotSearcher

TEXT = Path(robot.__file__).with_name("README.md").read_text(encoding="utf-8")


def test_the_study_file_is_valid(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0], encoding="utf-8"
    )
    facts = autosearch.load(tmp_path / "study.yaml").check()
    assert facts["searcher"].startswith("robot")


@pytest.mark.parametrize("preset", ["paper", "modern"])
def test_the_metrics_of_a_preset_exist(preset: str) -> None:
    assert set(RobotSearcher(preset=preset).scoring.metrics) <= set(METRICS)
    assert set(PAPER_METRICS) == set(RobotSearcher(preset="paper").scoring.metrics)
    assert set(PAPER_METRICS) < set(MODERN_METRICS)
