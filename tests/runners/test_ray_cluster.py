"""A study on a cluster of two nodes, one of which is lost."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]
STUDY = """\
study: nodes
run: {task: synthetic_curves, steps: 60, sleep: 0.2}
objectives: {loss: minimize}
space: {x: {type: float, low: 0.0, high: 1.0}}
searcher: random
budget: {trials: 3}
"""
AUTOSEARCH = [sys.executable, "-m", "autosearch.cli.main"]


def trials(study: Path) -> list[dict[str, object]]:
    shown = subprocess.run(
        [*AUTOSEARCH, "trials", study, "--json"], capture_output=True, text=True, check=False
    )
    found: list[dict[str, object]] = json.loads(shown.stdout) if shown.returncode == 0 else []
    return found


def test_trials_of_a_lost_node_go_on_elsewhere_from_their_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    study = tmp_path / "nodes.yaml"
    study.write_text(STUDY)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        node = cluster.add_node(num_cpus=2)
        cluster.wait_for_nodes()
        checked = subprocess.run(
            [*AUTOSEARCH, "check", study, "--address", cluster.address, "--json"],
            capture_output=True,
            check=True,
        )
        assert json.loads(checked.stdout)["cluster"] == {"nodes": 2, "cpus": 3.0, "gpus": 0.0}
        driver = subprocess.Popen(
            [*AUTOSEARCH, "run", study, "--address", cluster.address], cwd=tmp_path, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            running = trials(study)
            if len(running) == 3 and all(int(str(t["step"])) > 10 for t in running):
                break
            time.sleep(0.3)
        cluster.remove_node(node, allow_graceful=False)
        assert driver.wait(timeout=150) == 0
    finally:
        cluster.shutdown()
    ended = trials(study)
    assert [t["state"] for t in ended] == ["complete"] * 3
    assert any("preempted" in str(t["attempts"]) for t in ended)
