"""What the dashboard's notes say, in Markdown: what is searched, how it stands, why each trial was run."""

from autosearch.core import History, Trial
from autosearch.reporting import facts

MOST_FRONT, MOST_CAUSES = 12, 6


def code(text: object) -> str:
    """A piece of text as inline code, which Markdown reads nothing in."""
    plain = " ".join(str(text).split()).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`" if plain else ""


def block(text: str, language: str = "") -> str:
    """Text as a code block; its fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def study_state(history: History, name: str, *, searcher: str = "", over: bool = False) -> str:
    """The part of the study's note that changes: objectives, counts, best, failures."""
    problem = history.problem
    goals = ", ".join(f"{goal.direction} {code(goal.metric)}" for goal in problem.objectives)
    parameters = facts.plural(problem.space.dimensions, "parameter")
    by = f", searched by {code(searcher)}" if searcher else ""
    spent = history.spent
    budget = f" of {problem.budget.trials}" if problem.budget.trials else ""
    rows = [
        ("state", ("finished" if over else "running") + f", {len(history)}{budget} trials"),
        ("trials", ", ".join(f"{n} {state}" for state, n in facts.counts(history).items()) or "none yet"),
        ("time", facts.duration(60 * (spent.minutes or 0.0))),
    ]
    if problem.price_per_hour:
        rows.append(("cost", f"{spent.cost or 0.0:.2f}"))
    rows += [("constraint", code(expression.text)) for expression in problem.constraints]
    rows += [
        ("best", f"trial {t.number}: {code(facts.ending(problem, t))}") for t in history.front[:MOST_FRONT]
    ]
    rows += [
        ("failures", f"{len(group.trials)} × {code(group.cause)}: {code(group.message)}")
        for group in facts.failure_groups(history)[:MOST_CAUSES]
    ]
    rows += [
        ("stage", f"{code(stage)}: {facts.flat(facts.counts(trials)) or 'no trials yet'}")
        for stage, trials in history.stages.items()
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows)
    return (
        f"# {code(name)}\n\n{goals or 'No objectives'} over {parameters}{by}.\n\n"
        f"| | |\n|---|---|\n{table}\n\n"
        "[Report](/report) (served by `autosearch dashboard`; `autosearch report` writes it as a file).\n"
    )


def study_file(text: str) -> str:
    """The part of the study's note that stays: the resolved study file."""
    return f"\n## Study file\n\n{block(text, 'yaml')}\n" if text else ""


def trial_note(history: History, trial: Trial) -> str:
    """Why a trial was run, how it ended, and the traceback where it failed."""
    lines = [
        f"**Why:** {code(facts.decision(trial, facts.results_seen(history, trial)))}",
        f"**Result:** {code(facts.ending(history.problem, trial))}",
    ]
    if trial.checkpoint:
        lines.append(f"**Checkpoint:** {code(trial.checkpoint)}")
    if trial.failure is not None and trial.failure.traceback:
        # The end of a traceback says what went wrong.
        lines.append(block(trial.failure.traceback[-3000:], "text"))
    return "\n\n".join(lines) + "\n"
