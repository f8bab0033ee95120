"""`finally`: what goes on from the winner of a study file."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autosearch import load
from autosearch.cli.main import run
from autosearch.core import SpecError
from autosearch.core.stages import last_stages

STUDY = """\
study: small
run: {task: image_classification, dataset: digits, model: cnn, width: 4, epochs: 1, train_size: 200}
objectives: {val_loss: minimize}
space: {lr: {type: float, low: 1e-3, high: 1e-1, log: true}}
searcher: random
budget: {trials: 2}
resources: {runner: inline}
finally: {task: prune, target: {macs: 0.5}, epochs: 1}
"""
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)

    def call(word: str, *more: str) -> tuple[int, str]:
        code = run([word, str(path), *more])
        return code, capsys.readouterr().out

    return call


def test_the_winner_is_pruned_from_its_own_weights_tested_and_exported(
    command: Command, tmp_path: Path
) -> None:
    code, out = command("run")
    assert code == 0
    study = load(tmp_path / "small.yaml")
    history = study.read().history()
    history.stages = study.read().stages()
    best = history.incumbent
    assert best is not None
    (pruned,) = last_stages(history)[best.number]
    assert pruned.data["dense"]["val_loss"] == best.metrics["val_loss"]
    assert pruned.metrics["macs"] < 0.55 * best.metrics["macs"]
    assert f"finally, from trial {best.number}: val_loss" in out
    assert "test: test_loss" in out
    shown = command("best")[1]
    assert f"finally, from trial {best.number}" in shown
    assert f"macs {pruned.metrics['macs']:.6g}" in shown
    assert list(json.loads(command("best", "--json")[1])["finally"]) == [str(best.number)]
    assert command("export", str(tmp_path / "exported"))[0] == 0
    assert (tmp_path / "exported" / "finally" / "pruned.json").is_file()
    card = (tmp_path / "exported" / "README.md").read_text()
    assert 'small = autosearch.load_pruned(network, "finally")' in card
    assert 'torch.load("weights.pt", weights_only=True)' in card
    assert "what the last stage made of it" in study.report()


def test_finally_written_after_the_study_is_over_still_runs_and_runs_once(
    command: Command, tmp_path: Path
) -> None:
    command("run", "--set", "finally=null")
    _, out = command("run")
    assert "stage finally-" in out
    _, out = command("run")
    assert "the budget is spent" in out
    assert "stage finally-" not in out


def test_a_last_stage_can_search(command: Command) -> None:
    space = 'finally.space={"target.macs": {"type": "float", "low": 0.3, "high": 0.8}}'
    more = ("finally.budget.trials=2", 'finally.objectives={"val_loss": "minimize", "macs": "minimize"}')
    code, out = command("run", "--set", space, *(word for text in more for word in ("--set", text)))
    assert code == 0
    assert out.count("stage finally-") == 2
    assert "[target.macs=" in out


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("finally.targt=3", "finally.targt: unknown option. Did you mean 'target'?"),
        ("finally.network=3", "finally.network: is given by the winner; leave it out"),
        (
            "finally.task=image_classification",
            "does not go on from another task's trial; those that do: meta_prune, prune",
        ),
        ("finally.task=prunee", "Did you mean 'prune'?"),
        ("finally.objectives.foo=minimize", "finally.objectives.foo: the task reports no such metric."),
        ("finally.space.lr=[1]", "finally.space.lr: the task has no argument of that name."),
        ("finally.target.macs=7", "finally.target"),
        ("finally=3", "finally: must be {task: NAME, …arguments}, not 3"),
        ("finally.constraints=[3]", "finally.constraints[0]"),
        (
            "keep.checkpoints=0",
            "keep.checkpoints: must be at least 1: `finally` goes on from the winner's checkpoint.",
        ),
    ],
)
def test_a_mistake_in_finally_is_found_before_the_search(tmp_path: Path, change: str, line: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    with pytest.raises(SpecError) as caught:
        load(path, [change]).check()
    assert line in str(caught.value)


def test_the_resolved_file_loads_to_the_same_study(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(STUDY)
    first = load(path).spec
    (tmp_path / "again.yaml").write_text(first.to_yaml())
    assert load(tmp_path / "again.yaml").spec.resolved() == first.resolved()
