"""The report's own sections, each from the material alone; one that has nothing to say is left out."""

import shlex
from typing import TYPE_CHECKING, Any

from autosearch.core import History, State, Trial
from autosearch.core.plugins import registered
from autosearch.core.ranking import best_trials
from autosearch.core.stages import last_stages, winner
from autosearch.reporting import facts, figures, health
from autosearch.reporting.material import SECTIONS, Code, Material, Part, Section, Table, foreign_sections

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MOST_DECISIONS, _MOST_BEST = 150, 10


def all_sections(material: Material) -> list[Section]:
    """Every section that applies, in reading order; those of methods before the appendix."""
    makers: list[Callable[[Material], Section | None]] = [
        health_section,
        outcome_section,
        progress_section,
        front_section,
        constraint_section,
        parameter_section,
        curve_section,
        surrogate_section,
        time_section,
    ]
    found = [section for section in (maker(material) for maker in makers) if section is not None]
    if registered(SECTIONS):
        found += foreign_sections(material.history)
    found += [section for section in (decision_section(material), origin_section(material)) if section]
    return found


def health_section(material: Material) -> Section:
    """Health checks."""
    trusts = figures.trust(material.predictor) if material.predictor is not None else []
    rows = [
        [{"good": "fine", "note": "note", "warn": "look"}[check.level], check.title, check.words]
        for check in health.checks(material.history, table=material.importance, trusts=trusts)
    ]
    return Section("Health checks", [Table(("", "finding", "why, and what to do"), rows)])


def outcome_section(material: Material) -> Section:
    """Counts by state with causes, and the best trials."""
    history = material.history
    parts: list[Part] = [figures.states(history)]
    groups = facts.failure_groups(history)
    if groups:
        rows = [
            [
                g.cause,
                len(g.trials),
                g.message,
                ", ".join(map(str, g.trials[:6])) + (" …" if len(g.trials) > 6 else ""),
            ]
            for g in groups[:20]
        ]
        parts.append(Table(("cause", "trials", "message", "which"), rows, "Failures, by cause."))
    lost = facts.lost_attempts(history)
    if lost:
        parts.append("Attempts that were lost and tried again: " + facts.flat(lost) + ".")
    parts.append(_best_table(history))
    parts += [
        f"Stage {name}: " + (facts.flat(facts.counts(stage)) or "no trials yet") + "."
        for name, stage in history.stages.items()
    ]
    parts += [_last_table(history[n], stage) for n, stage in last_stages(history).items() if stage.finished]
    return Section("Outcome", parts)


def _last_table(start: Trial, stage: History) -> Part:
    """What a last stage made of the trial that it went on from."""
    found = winner(stage)
    if found is None:
        return f"The last stage found nothing feasible to make of trial {start.number}."
    rows = [
        [
            name,
            start.metrics[name],
            value,
            f"{value / start.metrics[name]:.3g}" if start.metrics[name] else "",
        ]
        for name, value in found.metrics.items()
        if name in start.metrics
    ]
    caption = f"Trial {start.number} and what the last stage made of it (its trial {found.number})."
    return Table(("metric", f"trial {start.number}", "last stage", "ratio"), rows, caption)


def _best_table(history: History) -> Part:
    problem = history.problem
    several = len(problem.objectives) > 1
    chosen = history.front if several else best_trials(history, _MOST_BEST)
    if not chosen:
        return "No feasible trial is complete yet."
    names = [name for name in problem.space.parameters if any(name in t.config for t in chosen)][:16]
    rows = [
        [
            trial.number,
            *(trial.metrics.get(name, "") for name in problem.metric_names),
            *(trial.config.get(name, "–") for name in names),
            f"{trial.seconds:.1f}",
        ]
        for trial in chosen[:50]
    ]
    caption = "The front." if several else f"The best {len(rows)} trials."
    return Table(("trial", *problem.metric_names, *names, "seconds"), rows, caption)


def progress_section(material: Material) -> Section | None:
    """History with incumbent, for each objective."""
    goals = material.history.problem.objectives
    if not goals:
        return None
    return Section(
        "Progress",
        [figures.optimisation_history(material.history, j) for j in range(len(goals))],
        "Every trial in the order in which it ended. The line is the best feasible value so far. A dotted one is the "
        "median of the complete trials that no result had influenced, from three on: what random choice gives.",
    )


def front_section(material: Material) -> Section | None:
    """Pareto front, with several objectives."""
    if len(material.history.problem.objectives) < 2:
        return None
    return Section(
        "Pareto front",
        [figures.pareto_front(material.history)],
        "No trial on the front can be improved in one objective without loss in another. Infeasible trials never "
        "belong to it.",
    )


def constraint_section(material: Material) -> Section | None:
    """Constraint margins."""
    if not material.history.problem.constraints:
        return None
    return Section(
        "Constraints", [figures.constraints(material.history)], "A margin at or below 0 meets the constraint."
    )


def parameter_section(material: Material) -> Section | None:
    """Importance, slices, parallel coordinates, coverage."""
    history = material.history
    if not history.problem.objectives or not history.problem.space.searched:
        return None
    table, predictor = material.importance, material.predictor
    slices = [
        figures.slices(history, predictor, table=table, objective=j)
        for j in range(len(history.problem.objectives))
    ]
    few = [] if table else ["PED-ANOVA needs ten feasible complete trials that differ; there are fewer."]
    return Section(
        "Parameters",
        [
            *few,
            figures.importance(history, table, predictor),
            *slices,
            figures.parallel_coordinates(history, table=table, predictor=predictor),
            figures.sampled_share(history),
        ],
        "Which parameters mattered, and where good values lie. PED-ANOVA asks what sets the best tenth of the trials "
        "apart; its bars span 90 % of resampled studies. A surrogate's curve runs through the best trial, one "
        "parameter varied at a time.",
    )


def curve_section(material: Material) -> Section | None:
    """Learning curves and the trust in short runs."""
    history = material.history
    if not any(len(t.reports) > 1 for t in history):
        return None
    parts: list[Part] = [figures.learning_curves(history, goal.metric) for goal in history.problem.objectives]
    if figures.fidelity_trust(history) or history.by_state(State.STOPPED):
        parts.append(figures.fidelity_correlation(history))
    return Section(
        "Learning curves",
        parts,
        "Stopped trials end early. The second figure asks whether that was right: if the order at a step agrees "
        "with the final order, little is lost by stopping there.",
    )


def surrogate_section(material: Material) -> Section | None:
    """Cross-validation of the surrogate, or why there is none."""
    if not material.history.problem.objectives:
        return None
    parts: list[Part] = [material.about_predictor] if material.about_predictor else []
    if material.predictor is not None:
        trusts = figures.trust(material.predictor)
        parts.append(figures.cross_validation(material.history, material.predictor))
        parts += [
            f"{goal.metric}: {found.words}."
            for goal, found in zip(material.history.problem.objectives, trusts, strict=False)
        ]
    return Section(
        "Can the surrogate be trusted?",
        parts,
        "Each result is predicted by a model that has not seen it. Points on the diagonal are predicted exactly.",
    )


def time_section(material: Material) -> Section | None:
    """Timeline with utilisation."""
    if not material.history:
        return None
    return Section(
        "Time",
        [figures.timeline(material.history)],
        "Each bar is a trial. A trial that was paused or tried again is drawn in one piece from its first start.",
    )


def decision_section(material: Material) -> Section | None:
    """Where each trial came from and how it ended."""
    history = material.history
    if not history:
        return None
    better = {t.number for t in facts.incumbents(history)}
    shown = _logged(history, better)
    rows = [
        [
            trial.number,
            ("★ " if trial.number in better else "")
            + facts.decision(trial, facts.results_seen(history, trial)),
            facts.ending(history.problem, trial),
        ]
        for trial in shown
    ]
    caption = "★ became the incumbent."
    if len(shown) < len(history):
        caption += f" {len(shown)} of {len(history)} trials: every incumbent, the first and the last ones."
    return Section(
        "Decisions",
        [Table(("trial", "why it was run", "how it ended"), rows, caption, folded=len(rows) > 30)],
    )


def _logged(history: History, better: set[int]) -> list[Trial]:
    if len(history) <= _MOST_DECISIONS:
        return list(history)
    head, tail = _MOST_DECISIONS // 3, len(history) - _MOST_DECISIONS // 2
    return [t for t in history if t.number < head or t.number >= tail or t.number in better]


def origin_section(material: Material) -> Section:
    """Versions, seed, git state, the resolved study file and the command that reproduces the best."""
    history, notes = material.history, material.notes
    origin: Mapping[str, Any] = notes.get("origin") or {}
    rows: list[list[Any]] = [
        ["study", material.name],
        ["record", material.location],
        ["seed", history.problem.seed],
    ]
    rows += [[key, value] for key, value in (notes.get("versions") or {}).items()]
    command = origin.get("command")
    if command:
        rows.append(["started by", " ".join(map(str, command))])
    rows += [[key.replace("_", " "), origin[key]] for key in ("folder", "study_file") if origin.get(key)]
    git = origin.get("git")
    if git:
        rows.append(
            ["git commit", git["commit"] + ("" if git.get("clean") else " (with uncommitted changes)")]
        )
    parts: list[Part] = [Table(("", ""), rows)]
    best = best_trials(history, 1)
    if best:
        study = shlex.quote(str(origin.get("study_file") or "STUDY.yaml"))
        number = best[0].number
        command = f"autosearch export {study} --trial {number} best-trial && sh best-trial/reproduce.sh"
        parts.append(Code(command, f"Trains trial {number} again, with the same configuration and seed:"))
    if material.study_yaml:
        parts.append(Code(material.study_yaml, "The study file with every default", folded=True))
    return Section("Origin", parts)
