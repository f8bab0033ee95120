"""The scoring stage on real Ray workers, its driver killed in the middle."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from autosearch.core import History, RecordError, State
from autosearch.core.opening import open_record
from autosearch.methods.robot.scoring import read_scores

pytest.importorskip("ray")
pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
POOL, BLOCK = 36, 3
STUDY = f"""
study: shards
run: {{task: image_classification, dataset: digits, model: nasbench201, width: 4, depth: 1, epochs: 1, train_size: 200}}
objectives: {{val_accuracy: maximize}}
space:
  architecture: {{use: nasbench201}}
searcher: {{method: robot, enumerate: 0, pool: {POOL}, block: {BLOCK}, batch: 16, metrics: [params, naswot, grasp]}}
budget: {{trials: 2}}
resources: {{parallel: 2}}
output: out
"""


def begin(folder: Path) -> subprocess.Popen[str]:
    (folder / "home").mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", "import autosearch; autosearch.load('study.yaml').run()"],
        cwd=folder,
        env={**os.environ, "HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def read(folder: Path, name: str) -> History:
    record = open_record(folder / "out/study.journal", name, read_only=True)
    with contextlib.closing(record):
        return record.history()


def scored(folder: Path) -> dict[int, tuple]:
    """Block -> what is recorded of it, once its trial has ended."""
    try:
        stage = read(folder, "shards/scores")
    except RecordError:  # not begun
        return {}
    return {t.config["block"]: (t.number, t.transitions, t.data) for t in stage.complete}


def test_blocks_are_scored_by_two_workers_and_a_killed_stage_goes_on_with_the_others(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    blocks = POOL // BLOCK
    first, deadline = begin(tmp_path), time.monotonic() + 120
    while len(scored(tmp_path)) < 3:
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline, "no block is scored"
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    known = scored(tmp_path)
    assert 3 <= len(known) < blocks, "the stage was over before the kill"

    second = begin(tmp_path)
    text = second.communicate(timeout=180)[0]
    assert second.returncode == 0, text
    final = scored(tmp_path)
    assert sorted(final) == list(range(blocks))
    assert {block: final[block] for block in known} == known, "a block was scored again"
    stage = read(tmp_path, "shards/scores")
    assert len(stage) == blocks
    spans = [(t.transitions[0].event, t.transitions[-1].event) for t in stage]
    assert any(a[0] < b[0] < a[1] for a in spans for b in spans), "blocks never ran side by side"
    S, names, notes = read_scores(stage, POOL)
    assert (names, notes) == (("grasp", "naswot", "params"), [])
    assert np.isfinite(S[:, 2]).all()
    assert [t.state for t in read(tmp_path, "shards")] == [State.COMPLETE] * 2
