"""Parts of the space to different searchers, each by the one that is best at it."""

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from autosearch.core import History, OptionError, Problem, StudyError, Suggestion, Trial, plugins
from autosearch.core.protocols import Objective, Searcher, Stage
from autosearch.core.seeds import derive_rng, derive_seed
from autosearch.space import Config, SearchSpace, SpaceError

_TRIES = (
    32  # mixtures of the parts' suggestions, before parts that break a common constraint are drawn together
)


@dataclass(frozen=True, slots=True)
class _Part:
    """One pattern, its searcher and the parameters that match."""

    pattern: str
    searcher: Searcher
    names: tuple[str, ...]
    space: SearchSpace

    def problem(self, whole: Problem) -> Problem:
        return replace(whole, space=self.space, seed=derive_seed(whole.seed, "split", self.pattern))

    def history(self, whole: History) -> History:
        """The trials with this part of their configurations only."""
        trials = [replace(trial, config=self.config(trial.config), info=self.info(trial)) for trial in whole]
        return History(self.problem(whole.problem), trials, events=whole.events, stages=whole.stages)

    def config(self, whole: Config) -> dict[str, Any]:
        """This part of a configuration; what was inactive because of another part has its default."""
        own = {name: whole.get(name, value) for name, value in self.space.start.items()}
        return self.space.complete(own)

    def info(self, trial: Trial) -> Mapping[str, Any]:
        """What this part's searcher wrote with the trial."""
        parts = trial.info.get("parts")
        found = parts.get(self.pattern) if isinstance(parts, Mapping) else None
        return found if isinstance(found, Mapping) else {}


class SplitSearcher:
    """Gives every searched parameter to one of several searchers; a trial is what they suggest together.

    Each searcher sees the whole history, with its own parameters only: what the others choose is noise to it. A
    searcher that can repeat a configuration, or one with a model, suits a part best where the parts hardly interact.

    Conditions and constraints within a part are kept by its searcher; those between parts are met by mixing the parts'
    suggestions anew, and by a random draw of the whole where no mixture meets them, which `info` then says.

    Args:
        parts: pattern of parameter names (`architecture.*`, `lr`, `*`) -> searcher, a name or `{method: NAME,
            …options}`. The first pattern that matches has the parameter; each must match one.
    """

    def __init__(self, *, parts: Mapping[str, Any]) -> None:
        if len(parts) < 2:
            raise OptionError("parts: two patterns or more; for one searcher name it itself.", "parts")
        self._searchers: dict[str, Searcher] = {}
        for pattern, definition in parts.items():
            try:
                self._searchers[pattern] = plugins.build("searchers", definition)
            except (OptionError, LookupError) as error:
                raise OptionError(f"parts.{pattern}: {error}", "parts") from error
        self._known: tuple[SearchSpace, list[_Part]] | None = None

    def check(self, problem: Problem) -> None:
        """Refuse a space in which a parameter has no part, a part no parameter, or a part's searcher cannot work.

        Raises:
            OptionError: naming the pattern.
        """
        for part in self._parts(problem.space):
            if hasattr(part.searcher, "check"):
                try:
                    part.searcher.check(part.problem(problem))
                except (OptionError, SpaceError) as error:
                    raise OptionError(f"parts.{part.pattern}: {error}", "parts") from error

    def stages(self, problem: Problem) -> list[Stage]:
        """The stages of all parts."""
        return [
            stage
            for part in self._parts(problem.space)
            if hasattr(part.searcher, "stages")
            for stage in part.searcher.stages(part.problem(problem))
        ]

    def stages_for(self, problem: Problem, objective: Objective) -> list[Stage]:
        """The stages of all parts that use what the trials run."""
        return [
            stage
            for part in self._parts(problem.space)
            if hasattr(part.searcher, "stages_for")
            for stage in part.searcher.stages_for(part.problem(problem), objective)
        ]

    def suggest(self, history: History, n: int) -> list[Suggestion]:
        """Up to `n` suggestions; fewer where a part has no more."""
        if n <= 0:
            return []
        parts = self._parts(history.problem.space)
        found = [part.searcher.suggest(part.history(history), n) for part in parts]
        for part, suggestions in zip(parts, found, strict=True):
            if any(s.parent is not None or s.resume is not None for s in suggestions):
                raise StudyError(f"parts.{part.pattern}: its searcher starts from other trials' checkpoints.")
        count = min(map(len, found))
        return [
            self._joined(history, parts, [suggestions[i] for suggestions in found], len(history) + i)
            for i in range(count)
        ]

    def _joined(
        self, history: History, parts: list[_Part], suggested: list[Suggestion], number: int
    ) -> Suggestion:
        space = history.problem.space
        rng = derive_rng(history.problem.seed, "split", number)
        info: dict[str, Any] = {"searcher": "split"}
        info["parts"] = {part.pattern: dict(s.info) for part, s in zip(parts, suggested, strict=True)}
        info["reason"] = "; ".join(
            f"{pattern}: {own.get('reason', '')}" for pattern, own in info["parts"].items()
        )
        values = [dict(s.config) for s in suggested]
        for attempt in range(_TRIES):
            config = self._whole(space, parts, values)
            if config is not None:
                return Suggestion(config, info=info)
            # One part at a time keeps what the others have chosen.
            at = attempt % len(parts)
            values = [dict(s.config) for s in suggested]
            values[at] = parts[at].space.sample(rng, 1)[0]
            info["reason"] = f"parts.{parts[at].pattern} drawn at random: together they broke a constraint"
        return Suggestion(
            space.sample(rng, 1)[0], info={**info, "reason": "no mixture of the parts meets the constraints"}
        )

    def _whole(
        self, space: SearchSpace, parts: list[_Part], values: list[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """The configuration that the parts make together; None where it breaks a constraint."""
        joined = dict(space.start)
        for part, own in zip(parts, values, strict=True):
            joined |= {name: value for name, value in own.items() if name in part.names}
        try:
            config = space.complete(joined)
        except SpaceError:
            return None
        return config if space.satisfies(config) else None

    def _parts(self, space: SearchSpace) -> list[_Part]:
        if self._known is None or self._known[0] is not space:
            self._known = (space, self._divided(space))
        return self._known[1]

    def _divided(self, space: SearchSpace) -> list[_Part]:
        names: dict[str, list[str]] = {pattern: [] for pattern in self._searchers}
        for name in space.searched:
            own = next((pattern for pattern in names if fnmatch.fnmatchcase(name, pattern)), None)
            if own is None:
                raise OptionError(
                    f"parts: no pattern matches the parameter {name!r}. Add one, or '*' for all that are left.",
                    "parts",
                )
            names[own].append(name)
        empty = next((pattern for pattern, own in names.items() if not own), None)
        if empty is not None:
            raise OptionError(
                f"parts.{empty}: matches no parameter that is left. They are {', '.join(space.searched)}.",
                "parts",
            )
        return [_Part(p, self._searchers[p], tuple(own), space.part(own)) for p, own in names.items()]
