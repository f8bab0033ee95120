"""The model card of one trial: what it is, what was measured, how it was chosen, what that is worth."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from autosearch.core import History, Trial
from autosearch.core.stages import last_stages, winner
from autosearch.reporting import facts
from autosearch.reporting.notes import block, code


def model_card(
    history: History,
    trial: Trial,
    *,
    name: str,
    config: str,
    notes: Mapping[str, Any],
    files: Collection[Path] = (),
) -> str:
    """A Markdown page beside an exported trial.

    Args:
        history: of the study.
        trial: the one exported.
        name: of the study.
        config: the configuration as YAML.
        notes: what the driver noted: `study_file`, `versions`, `origin`, `test`.
        files: that stand beside the page.
    """
    problem = history.problem
    goals = ", ".join(f"{goal.direction} {code(goal.metric)}" for goal in problem.objectives)
    parts = [
        f"# {code(name)}, trial {trial.number}",
        f"Found by autosearch: {goals or 'no objectives'}. State: {trial.state.value}"
        + (f", {trial.step} steps" if trial.step else "")
        + f", trained for {facts.duration(trial.seconds)}.",
        "## Measured",
        _table("metric", trial.metrics) if trial.metrics else "The trial measured nothing.",
        *_test(trial, notes),
        "## Configuration",
        block(config, "yaml"),
        "## How it was chosen",
        _choice(history, trial),
        "## Reproducing it",
        "`sh reproduce.sh` trains it again with the same configuration and seed, and writes into `reproduced/`. "
        "Where they are here, `checkpoint/` is its last checkpoint, `finally/` what the last stage made of it.",
        *_loading(history, trial, {path.name for path in files}),
        *_made_with(notes),
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: str, values: Mapping[str, Any]) -> str:
    rows = [
        f"| {code(key)} | {f'{value:.6g}' if isinstance(value, float) else code(value)} |"
        for key, value in values.items()
    ]
    return "\n".join([f"| {head} | value |", "|---|---|", *rows])


def _test(trial: Trial, notes: Mapping[str, Any]) -> list[str]:
    test = notes.get("test") or {}
    if test.get("trial") != trial.number:
        return [
            "No test data was looked at for this trial: the numbers above are those that the search was led by."
        ]
    return ["On test data, once, after it was chosen:", _table("metric", test.get("metrics", {}))]


def _loading(history: History, trial: Trial, files: Collection[str]) -> list[str]:
    """How the trained network is loaded, where a built-in task has left one."""
    stage = last_stages(history).get(trial.number)
    last = None if stage is None else winner(stage)
    folders = {"checkpoint": trial.checkpoint, "finally": last.checkpoint if last else None}
    pruned = [name for name, path in folders.items() if path and (Path(path) / "pruned.json").is_file()]
    lines = ['network.load_state_dict(torch.load("weights.pt", weights_only=True))'] * ("weights.pt" in files)
    lines += [f'small = autosearch.load_pruned(network, "{name}")' for name in pruned]
    if not lines:
        return []
    words = "`network` is built as the trial built it"
    words += ", before anything was pruned." if pruned else "."
    return ["## Using it", words, block("\n".join(lines), "python")]


def _choice(history: History, trial: Trial) -> str:
    complete = len(history.complete)
    if trial in history.front:
        role = "the best" if len(history.problem.objectives) == 1 else "on the front"
        words = f"It is {role} of {facts.plural(complete, 'complete trial')} among {len(history)}."
        if complete > 1:
            words += " Being the best of many, its value is better than the same configuration would give on average."
    else:
        words = f"It was chosen by hand among {facts.plural(len(history), 'trial')}; it is not the best."
    reasons = facts.decision(trial, facts.results_seen(history, trial))
    feasible = "" if trial.feasible or not trial.values else " It breaks a constraint."
    return f"{words}{feasible} It was suggested by {code(reasons)}."


def _made_with(notes: Mapping[str, Any]) -> list[str]:
    versions: Mapping[str, Any] = notes.get("versions") or {}
    git = (notes.get("origin") or {}).get("git") or {}
    rows = dict(versions)
    if git.get("commit"):
        rows["git commit"] = git["commit"] + ("" if git.get("clean") else " (with uncommitted changes)")
    return ["## Made with", _table("what", rows)] if rows else []
