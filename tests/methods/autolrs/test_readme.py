"""The code blocks of the method's README, executed as they are printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import autosearch
from autosearch.methods import autolrs
from tests.methods.autolrs.loop_code import network, train_step
from tests.methods.autolrs.test_scheduler import loader, optimizer_of

TEXT = Path(autolrs.__file__).with_name("README.md").read_text()
LOOP, FINDER, POOL = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_loop_runs_and_stops_where_the_learning_rate_is_found():
    begun, _, rest = LOOP.partition("for x, y in")
    body = rest.partition("    scheduler.step(loss)")[0].partition("\n")[2]
    finder = FINDER.replace("    ...  # as above\n", body)
    code = f"{LOOP}\n{begun}{finder}\nassert scheduler.search_steps < 200 and scheduler.found_lr"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_pool_runs():
    model = network()
    names = {
        "autosearch": autosearch,
        "model": model,
        "optimizer": optimizer_of(model, "sgd"),
        "train_step": train_step,
        "loader": loader(),
    }
    exec(POOL, names)  # noqa: S102 - the README is ours
    assert names["scheduler"].controller.spent == 1000


def test_the_study_file_is_valid(tmp_path):
    (tmp_path / "study.yaml").write_text(re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)[0])
    study = autosearch.load(tmp_path / "study.yaml")
    assert study.check()["runs"] == "task image_classification"
