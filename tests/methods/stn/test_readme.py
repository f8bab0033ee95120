"""The method's README and its studies, run as they are printed and shipped."""

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import autosearch
from autosearch.methods import stn
from autosearch.methods.stn.settings import PRESETS, Settings, resolve

TEXT = Path(stn.__file__).with_name("README.md").read_text(encoding="utf-8")
STUDIES = Path(__file__).parents[3] / "studies"


def test_the_loop_of_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_study_of_the_readme_is_read(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    assert autosearch.load(path).objective.max_step == 60


def test_presets_set_options_that_exist_and_their_cost_is_what_their_products_cost():
    known = {field.name for field in fields(Settings)}
    assert all(set(preset) <= known for preset in PRESETS.values())
    assert resolve("modern", {}).cost == pytest.approx(1 + 3 / 3 + 2 / 3 / 2)
    assert resolve("modern", {"tied": False, "response_every": 2}).cost == pytest.approx(
        1 + 5 / 6 + 4 / 3 / 2
    )
    assert resolve("paper", {}).cost == pytest.approx(2 + 4 / 3 / 2)


@pytest.mark.parametrize("name", ["stn_digits", "stn_fashion"])
def test_shipped_studies_run(name, tmp_path):
    if name == "stn_fashion" and not os.environ.get("AUTOSEARCH_DATA"):
        pytest.skip("needs AUTOSEARCH_DATA")
    small = [
        "run.epochs=2", "run.train_size=200", "run.val_size=100", "run.batch_size=32", "budget.trials=1",
        "resources.runner=inline", f"output={tmp_path}",
    ]  # fmt: skip
    study = autosearch.load(STUDIES / f"{name}.yaml", small).run()
    assert "tuned" in study.history[0].data
