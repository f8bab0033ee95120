"""RoBoT as a searcher: what to train next, given training-free scores and the results so far."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from autosearch.core import History, Objective, OptionError, Problem, Stage, Suggestion
from autosearch.core.seeds import derive_rng
from autosearch.methods.robot import modern, paper
from autosearch.methods.robot.knowledge import Knowledge, Memory
from autosearch.methods.robot.normalise import Norm, normalised
from autosearch.methods.robot.results import results
from autosearch.methods.robot.scoring import Scored, Scoring, scoring_stage
from autosearch.searchers.evolution import EvolutionSearcher
from autosearch.searchers.unseen import Tried, draw_unseen
from autosearch.space import Config

PAPER_METRICS = ("fisher", "grad_norm", "grasp", "jacob_cov", "snip", "synflow")
MODERN_METRICS = (*PAPER_METRICS, "epe_nas", "flops", "l2_norm", "naswot", "params", "plain", "zen")
_LEAST = 3  # results before anything is fitted
_ROUNDS = 20  # of the weight search where the budget names no number of trials


class RobotSearcher:
    """Searches architectures by training-free metrics whose combination is learnt from the results.

    He et al. 2024, "Robustifying and Boosting Training-Free Neural Architecture Search" (RoBoT), ICLR. A stage scores
    the architectures first; equal functions count once. The architecture is what lies under `architecture.` in the
    space, else the whole space; other parameters may be searched along.

    `paper`: weights of the metrics by Bayesian optimisation, then greedily down the ranking of the best ones.
    `modern`: several arms, chosen by evidence (see `modern`): signs are learnt, weights are refitted after each
    result, a surrogate over scores and graph features decides most, evolution takes over where nothing has a signal.

    Args:
        preset: `modern` or `paper`.
        metrics: training-free metrics; None: six for `paper`, 13 for `modern`. A table's are all that it has.
        architecture: the name under which the architecture stands in the space.
        enumerate: spaces of at most so many combinations are scored as a whole; None: 20,000 where scores are read from
            a table, as many as `pool` where networks are built for them.
        pool: architectures that are sampled and scored of a larger one; None: 2,000 of a table, 200 networks.
        block: networks that one trial of the stage scores.
        batch: examples that each network sees when it is scored.
        rounds: of `paper`'s weight search; None: the budget's trials.
        norm: of `paper`'s scores: `minmax` as published, `log`, `rank` or `gauss`.
        random: architectures at random among `modern`'s first.
        signal: rank correlation below which `modern` follows an arm no longer.

    Raises:
        OptionError: an option is out of range.
    """

    def __init__(  # noqa: PLR0913 - options of a study file, all by keyword
        self,
        *,
        preset: Literal["paper", "modern"] = "modern",
        metrics: tuple[str, ...] | None = None,
        architecture: str = "architecture",
        enumerate: int | None = None,  # noqa: A002 - what users write
        pool: int | None = None,
        block: int = 25,
        batch: int = 64,
        rounds: int | None = None,
        norm: Norm = "minmax",
        random: int = 4,
        signal: float = 0.1,
    ) -> None:
        least = {"enumerate": 0, "pool": 2, "block": 1, "batch": 2, "rounds": 1, "random": 1}
        given = {"enumerate": enumerate, "pool": pool, "block": block, "batch": batch, "rounds": rounds}
        for name, number in {**given, "random": random}.items():
            if number is not None and number < least[name]:
                raise OptionError(f"{name} must be at least {least[name]}, got {number}.", name)
        if preset not in ("paper", "modern"):
            raise OptionError(f"preset must be paper or modern, got {preset!r}.", "preset")
        self.preset, self.rounds, self.norm = preset, rounds, norm
        default = PAPER_METRICS if preset == "paper" else MODERN_METRICS
        self.scoring = Scoring(tuple(metrics or default), batch, block)
        self.settings = modern.Settings(random=random, signal=signal)
        self.memory = Memory(architecture, enumerate, pool)
        self._evolution = EvolutionSearcher(population=4)
        self._tried = Tried()

    def check(self, problem: Problem) -> None:
        """Refuse problems without objectives, and several objectives for `paper`.

        Raises:
            OptionError: for these.
            SpaceError: the architecture's parameters depend on others.
        """
        if not problem.objectives:
            raise OptionError("robot needs an objective; a stage has none.", "method")
        if self.preset == "paper" and len(problem.objectives) > 1:
            raise OptionError(
                "the published search has one objective; use `preset: modern` for several.", "preset"
            )
        parts = self.memory.parts(problem.space)
        if self.preset == "paper" and parts.others is not None:
            raise OptionError(
                f"the published search knows architectures only, and {', '.join(parts.others.searched)} are searched "
                "too. Fix them, or use `preset: modern`.",
                "preset",
            )

    def stages_for(self, problem: Problem, objective: Objective) -> Sequence[Stage]:
        """The stage that scores the architectures."""
        size = self.memory.size(read=isinstance(objective, Scored))
        return [scoring_stage(objective, self.memory.pool(problem.space, size), self.scoring)]

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """Up to `n` configurations that no trial has; `info` names the arm and the reason.

        Raises:
            SpaceError: hardly any configuration meets the constraints.
        """
        knowledge = self.memory.knowledge(history)
        state = _State(history, set(self._tried.keys(history)))
        published = self.preset == "paper" and bool(knowledge.names)
        for _ in range(n):
            found = (self._paper if published else self._modern)(knowledge, state)
            if found is None or state.key(found.config) in state.tried:
                found = self._evolved(state, "evolution", "no arm has a signal, or a candidate left")
            if found is None:
                break
            state.add(found, knowledge.notes)
        return state.suggestions

    # -- modern --------------------------------------------------------------------------------------------

    def _modern(self, knowledge: Knowledge, state: "_State") -> Suggestion | None:
        history = state.history
        for row, reason in modern.opening(knowledge.architectures, self.settings, history.problem.seed):
            config = knowledge.opening(row)
            if state.key(config) not in state.tried and history.problem.space.satisfies(config):
                return _suggestion(config, "opening", reason, {})
        found = results(history)
        if len(found) < _LEAST:
            return self._evolved(state, "opening", "too few results to learn from")
        field = knowledge.field(history, found)
        rows = [field.rows[state.key(history[number].config)] for number in found]
        pending = [field.rows[key] for key in map(state.key, state.pending) if key in field.rows]
        Y = np.array(list(found.values()))
        choice = modern.choose(field.candidates, np.array(rows), Y, pending, state.followed, self.settings)
        if choice is None:
            return None
        return _suggestion(field.configs[choice.row], choice.arm, choice.reason, choice.details)

    def _evolved(self, state: "_State", arm: str, reason: str) -> Suggestion | None:
        """A small change of a good configuration, else any that was not tried; None in an exhausted space."""
        problem = state.history.problem
        offers = self._evolution.suggest(state.history, 1)
        if offers and state.key(offers[0].config) not in state.tried:
            found = offers[0]
            details = {"from": found.info["parent"]} if "parent" in found.info else {}
            return _suggestion(found.config, arm, f"{reason}: {found.info['reason']}", details)
        config = draw_unseen(problem.space, derive_rng(problem.seed, "robot", state.number), state.tried)
        return None if config is None else _suggestion(config, arm, f"{reason}: at random", {})

    # -- paper ---------------------------------------------------------------------------------------------

    def _paper(self, knowledge: Knowledge, state: "_State") -> Suggestion | None:
        history, pool = state.history, knowledge.pool
        found = {number: float(values[0]) for number, values in results(history).items()}
        worst = min(found.values(), default=0.0)
        values: dict[int, float] = {}
        # Those that run count as the worst: the weight search moves on from them.
        for number, key in enumerate(map(state.key, state.configs)):
            if key in pool.rows:
                values[pool.rows[key]] = found.get(number, worst)
        rounds = [
            paper.Round(np.array(made["weights"]), made["row"])
            for info in state.infos
            for made in info.get("rounds", ())
        ]
        problem = history.problem
        choice = paper.next_choice(
            normalised(knowledge.S, self.norm),
            rounds,
            values,
            self.rounds or problem.budget.trials or _ROUNDS,
            paper.BayesianWeights(knowledge.names, problem.seed),
        )
        if choice is None:
            return None
        made = [{"weights": r.weights.tolist(), "row": r.row} for r in choice.rounds]
        noted = dict(zip(knowledge.names, choice.weights.tolist(), strict=True))
        details = {"weights": noted, "rounds": made}
        return _suggestion(pool.configs[choice.row], choice.arm, choice.reason, details)


class _State:
    """What a call of `suggest` builds on: the history and what it has suggested itself."""

    def __init__(self, history: History, tried: set[Hashable]) -> None:
        self.history, self.tried = history, tried
        self.suggestions: list[Suggestion] = []

    @property
    def number(self) -> int:
        return len(self.history) + len(self.suggestions)

    def key(self, config: Config) -> Hashable:
        return self.history.problem.space.key(config)

    @property
    def configs(self) -> list[Config]:
        """Of all trials, those suggested in this call included."""
        return [trial.config for trial in self.history] + [s.config for s in self.suggestions]

    @property
    def pending(self) -> list[Config]:
        """Of trials without a result."""
        return [trial.config for trial in self.history.pending] + [s.config for s in self.suggestions]

    @property
    def infos(self) -> list[Mapping[str, Any]]:
        return [trial.info for trial in self.history] + [s.info for s in self.suggestions]

    @property
    def followed(self) -> Counter[str]:
        """How many decisions each arm has made."""
        return Counter(str(info.get("arm")) for info in self.infos)

    def add(self, found: Suggestion, notes: Sequence[str]) -> None:
        config = self.history.problem.space.complete(found.config)
        info = {**found.info, "notes": "; ".join(notes)} if notes else found.info
        self.suggestions.append(Suggestion(config, info=info))
        self.tried.add(self.key(config))


def _suggestion(config: Config, arm: str, reason: str, details: Mapping[str, Any]) -> Suggestion:
    return Suggestion(config, info={"searcher": "robot", "arm": arm, "reason": reason, **details})
