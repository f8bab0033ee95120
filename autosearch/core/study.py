"""Study: decides what runs next and writes what happened. It runs nothing itself."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from autosearch.core import arguments, choosing, plugins
from autosearch.core.arguments import Direction
from autosearch.core.clock import StudyClock
from autosearch.core.curves import keeps_report
from autosearch.core.errors import SpaceError, StudyError
from autosearch.core.history import History
from autosearch.core.ledger import Ledger, Listener
from autosearch.core.protocols import Job, Objective, Record, Scheduler, Searcher, Stage
from autosearch.core.queue import Queue
from autosearch.core.ranking import best_trials
from autosearch.core.records import (
    Budget,
    Decision,
    Failure,
    Goal,
    Json,
    Problem,
    State,
    Suggestion,
    Transition,
    Trial,
)
from autosearch.core.results import refuse_repeated_failures, valued
from autosearch.core.settings import Resources, Retries, RunSettings
from autosearch.core.stages import run_last, run_stages, staged
from autosearch.core.threads import Serial, alone
from autosearch.space import Expression, SearchSpace


class Study(Serial):
    """A search from its problem to its best trial, by ask/tell or through a runner.

    Several threads may ask, report and tell: one waits for the other.

    Args:
        space: parameters by name, a SearchSpace, or the name or path of a shipped space.
        objectives: metric -> `minimize` or `maximize`; none only for stages.
        constraints: outcome constraints over metrics, such as `params <= 200000`.
        require: input constraints between parameters.
        searcher: a name, `{method: NAME, …options}`, or a Searcher.
        scheduler: the same for a Scheduler.
        budget: `trials`, `minutes`, `cost`; None is without limit (the caller ends the loop).
        seed: of every random choice.
        storage: None for memory, a journal file's path, or an RDB URL.
        name: of the study in its storage.
        workers: trials at once, as searchers see it.
        fidelity: (min, max) steps for the scheduler; max is where a trial is complete. `min` and `max` among the
            scheduler's options go before.
        price_per_hour: of one running trial.
        retries: attempts more by cause, used by runners through `fail`.
        queue: folder of configurations queued by hand.
        record: an open Record, instead of `storage` and `name`.
        clock: seconds, for study time.

    Raises:
        SpaceError, ResolveError, OptionError: for what the arguments get wrong.
        StudyLockedError: if another driver works on the study.
        StudyMismatchError: if the storage holds the study with another space or other objectives.
    """

    def __init__(  # noqa: PLR0913 - the study's contract, all but two by keyword
        self,
        space: SearchSpace | Mapping[str, Any] | str,
        objectives: Mapping[str, Direction] | Sequence[Goal],
        *,
        constraints: Sequence[str | Expression] = (),
        require: Sequence[str] = (),
        searcher: str | Mapping[str, Any] | Searcher = "auto",
        scheduler: str | Mapping[str, Any] | Scheduler | None = None,
        budget: Budget | Mapping[str, float] | None = None,
        seed: int = 0,
        storage: str | Path | None = None,
        name: str = "study",
        workers: int = 1,
        fidelity: tuple[int | None, int | None] = (None, None),
        price_per_hour: float | None = None,
        retries: Retries | Mapping[str, int] | None = None,
        queue: Path | None = None,
        record: Record | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        from autosearch.core.opening import open_record, resolve_space

        super().__init__()
        if isinstance(scheduler, Mapping):
            fidelity = (scheduler.get("min", fidelity[0]), scheduler.get("max", fidelity[1]))
        self.problem = Problem(
            space=resolve_space(space, require),
            objectives=arguments.goals(objectives),
            constraints=tuple(arguments.constraint(c, i) for i, c in enumerate(constraints)),
            budget=budget if isinstance(budget, Budget) else arguments.budget(budget or {}),
            workers=workers,
            seed=seed,
            fidelity=fidelity,
            price_per_hour=price_per_hour,
        )
        self.searcher: Searcher = arguments.plugin("searchers", searcher, "searcher")
        self.scheduler: Scheduler = arguments.plugin("schedulers", scheduler or "none", "scheduler")
        for part in (self.searcher, self.scheduler):
            if hasattr(part, "check"):
                part.check(self.problem)
        milestones = getattr(self.scheduler, "milestones", None)
        self._milestones = frozenset(milestones(self.problem)) if milestones else frozenset()
        self.retries = arguments.settings(Retries, retries or {}, "retries")
        self.queue = Queue(queue)
        self.record = record or open_record(storage, arguments.study_name(name), self.problem)
        self.history = self.record.history().with_problem(self.problem)
        self.history.stages = self.record.stages()
        self._ledger = Ledger(self.record, self.history, StudyClock(clock, self.history.elapsed_s))
        self._waiting = [trial.number for trial in self.history.by_state(State.RUNNING)]
        self._interrupted = set(self._waiting)
        self._decisions: dict[int, Decision] = {}
        self._session_ends: list[Trial] = []
        self.parent: Study | None = None
        self.least_kept = 0  # checkpoints of a stage, whatever the study keeps of its own

    # -- what the study is ---------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"<Study {self.name!r}: {self._counts()}>"

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def best(self) -> Trial:
        """The incumbent.

        Raises:
            StudyError: with several objectives, or without a feasible complete trial.
        """
        incumbent = self.history.incumbent
        if incumbent is None:
            raise StudyError(f"best: {self.name} has no feasible complete trial yet ({self._counts()}).")
        return incumbent

    @property
    def front(self) -> list[Trial]:
        """Feasible complete trials that none dominates, by number."""
        return self.history.front

    @property
    def listeners(self) -> list[Listener]:
        """Called as `listener(event, trial, text)` after each change."""
        return self._ledger.listeners

    @property
    def elapsed_s(self) -> float:
        """Study time: seconds for which a driver has worked on it, over all sessions."""
        return self._ledger.clock.elapsed_s

    def use_clock(self, clock: Callable[[], float], elapsed_s: float | None = None) -> None:
        """Take the time from `clock` (seconds); study time goes on from `elapsed_s`, else from where it stands."""
        self._ledger.clock.take(clock, elapsed_s)

    @property
    def out_of_time(self) -> bool:
        """Whether `budget.minutes` or `budget.cost` is spent: running trials are to be interrupted."""
        return self._out_of_time(0.0)

    def _out_of_time(self, unrecorded_s: float) -> bool:
        """`out_of_time`, where trials of a stage have run for `unrecorded_s` that no history holds yet."""
        clock = self._ledger.clock
        unrecorded_s += sum(clock.seconds(n) - self.history[n].seconds for n in clock.running)
        if self.parent is not None and self.parent._out_of_time(unrecorded_s):
            return True
        budget, price = self.problem.budget, self.problem.price_per_hour
        if budget.minutes is not None and self.elapsed_s >= 60 * budget.minutes:
            return True
        if budget.cost is None or price is None:
            return False
        return (self.history.spent.cost or 0.0) + price * unrecorded_s / 3600 >= budget.cost

    @property
    def out_of_trials(self) -> bool:
        """Whether no new trial may begin; unfinished ones may still go on."""
        limit = self.problem.budget.trials
        return limit is not None and len(self.history) >= limit

    @property
    def budget_spent(self) -> bool:
        """Whether nothing is left to do: the budget is spent and, for `trials`, every trial finished."""
        return self.out_of_time or (self.out_of_trials and not self.history.pending)

    def _counts(self) -> str:
        counts = {state: len(self.history.by_state(state)) for state in State}
        return ", ".join(f"{n} {state.value}" for state, n in counts.items() if n) or "no trials"

    # -- ask -----------------------------------------------------------------------------------------------

    @overload
    def ask(self) -> Trial: ...
    @overload
    def ask(self, n: int) -> list[Trial]: ...
    def ask(self, n: int | None = None) -> Trial | list[Trial]:
        """The next trial, or a batch of up to `n` that knows its own pending points.

        In order: unfinished trials of an earlier session, configurations queued by hand, the space's first
        configurations, what the scheduler proposes, what the searcher suggests.

        Raises:
            StudyError: without `n`, where nothing is left to try.
        """
        trials = self.next(1 if n is None else n)
        if n is not None:
            return trials
        if not trials:
            reason = "the budget is spent" if self.budget_spent else "nothing is left to try"
            raise StudyError(f"ask: {reason} ({self._counts()}). Raise `budget` to go on.")
        return trials[0]

    @alone
    def next(self, n: int) -> list[Trial]:
        """Up to `n` trials to run now; fewer, or none, where the study has none to give."""
        started = self.begin_waiting(n)
        while len(started) < n and not self.out_of_time:
            suggestions = self.propose(self.history, n - len(started))
            if not suggestions:
                break
            started += self.start(suggestions)
        return started

    @alone
    def begin_waiting(self, n: int) -> list[Trial]:
        """Up to `n` of the trials that go before every suggestion: lost attempts, then queued configurations.

        Raises:
            RepeatedFailureError: if the first trials all failed in the same way.
        """
        started: list[Trial] = []
        refuse_repeated_failures(self._session_ends)
        if self.out_of_time:
            return started
        self.import_queue()
        while len(started) < n and (trial := self._restart()) is not None:
            started.append(trial)
        return started

    def propose(self, history: History, n: int) -> list[Suggestion]:
        """What to run next after `history`, at most `n`, all from one source. Writes nothing.

        A pure function of the history: the scheduler's proposals, else the searcher's suggestions.
        """
        return self.propose_scheduled(history, n) or self.propose_searched(history, n)

    def propose_scheduled(self, history: History, n: int) -> list[Suggestion]:
        """What the scheduler wants to run next, at most `n`; quick."""
        return choosing.scheduled(self.scheduler, history, n)

    def propose_searched(self, history: History, n: int) -> list[Suggestion]:
        """The space's first configurations, then what the searcher suggests, at most `n`.

        May take long. It may run in a thread of its own on a `snapshot`: nothing else calls the searcher's `suggest`.
        """
        return choosing.searched(self.searcher, history, n)

    @alone
    def start(self, suggestions: Sequence[Suggestion], seen: int | None = None) -> list[Trial]:
        """Write suggestions that `propose` made from a history of `seen` events as running trials.

        Raises:
            StudyError: if a suggestion breaks the space's rules or names a trial that it cannot go on from.
        """
        seen = self.history.events if seen is None else seen
        source = type(self.searcher).__name__
        trials = []
        for index, suggestion in enumerate(suggestions):
            if suggestion.resume is not None:
                trials.append(self._thaw(suggestion))
                continue
            step = 0 if suggestion.parent is None else self.history[suggestion.parent].checkpoint_step
            trial = Trial(
                number=len(self.history),
                config=choosing.checked(suggestion, self.history, source),
                seen=seen,
                transitions=(Transition(self.history.events, State.RUNNING, step),),
                info=dict(suggestion.info),
                parent=suggestion.parent,
                until=suggestion.until,
                started_s=self.elapsed_s,
                batch=(index, len(suggestions)),
            )
            trials.append(self._ledger.begin(trial))
        return trials

    def _thaw(self, suggestion: Suggestion) -> Trial:
        number = suggestion.resume
        if number is None or self.history[number].state is not State.PAUSED:
            raise StudyError(f"{type(self.scheduler).__name__} resumed trial {number}, which is not paused.")
        return self._ledger.again(self.history[number], until=suggestion.until)

    def _restart(self) -> Trial | None:
        """The next trial to begin again: lost attempts first, then queued configurations."""
        if self._waiting:
            trial = self.history[self._waiting.pop(0)]
            if trial.number in self._interrupted:
                self._interrupted.discard(trial.number)
                trial = self._ledger.lose(trial, "interrupted")
            return self._ledger.again(trial)
        queued = next((t for t in self.history.pending if t.state is State.QUEUED), None)
        return None if queued is None else self._ledger.again(queued)

    # -- queue ---------------------------------------------------------------------------------------------

    @alone
    def enqueue(self, config: Mapping[str, Any], *, info: Mapping[str, Json] | None = None) -> Trial:
        """Queue a configuration, run before anything a searcher suggests.

        What `config` leaves out is taken from the incumbent, else from the defaults, else from mid-range.

        Raises:
            SpaceError: if it breaks the space's rules.
        """
        space = self.problem.space
        incumbent = self.history.incumbent if len(self.problem.objectives) == 1 else None
        known = (
            {} if incumbent is None else {n: v for n, v in incumbent.config.items() if n in space.searched}
        )
        trial = Trial(
            number=len(self.history),
            config=space.validate({**space.start, **known, **config}),
            state=State.QUEUED,
            seen=self.history.events,
            transitions=(Transition(self.history.events, State.QUEUED),),
            info={"reason": "queued", **(info or {})},
            started_s=self.elapsed_s,
        )
        return self._ledger.begin(trial)

    @alone
    def import_queue(self) -> None:
        """Move configurations queued by hand into the record. Called before each suggestion.

        Those that the budget leaves no trial for wait in their folder for a larger one.
        """
        if not self.queue:
            return
        known = {trial.info.get("queue") for trial in self.history}
        for item in self.queue.items():
            if item.identity not in known:
                if self.out_of_trials:
                    continue
                try:
                    self.enqueue(item.config(), info={"queue": item.identity})
                except SpaceError as error:
                    item.refuse(str(error))
                    self._ledger.notify("note", None, f"queued configuration refused: {error}")
                    continue
            item.remove()

    # -- report and tell -----------------------------------------------------------------------------------

    @alone
    def report(
        self,
        trial: Trial | int,
        metrics: Mapping[str, float],
        *,
        step: int | None = None,
        checkpoint: str | Path | None = None,
    ) -> Decision:
        """Record a report of a running trial and say whether it goes on.

        A trial keeps at most 200 reports (`curves.keeps_report`); one that is not kept decides nothing.

        Args:
            trial: it, or its number.
            metrics: numbers by name; objectives may be missing in a report, not in the result.
            step: fidelity; without it the reports are counted.
            checkpoint: folder of a checkpoint of this moment.

        Raises:
            StudyError: if the trial is not running, or `step` is no whole number of at least 0.
        """
        current = self._ledger.running(trial, "report")
        steps, numbers = self._ledger.steps, arguments.numbers(metrics)
        steps[current.number] = step = steps[current.number] + 1 if step is None else arguments.step(step)
        ends = self._reaches_end(current)
        keep = ends or keeps_report(current.reports, step, self._milestones)
        current = self._ledger.report(current, numbers, keep=keep, checkpoint=checkpoint)
        decision = Decision.STOP if ends else Decision.CONTINUE
        if keep and not ends and self.problem.signed(numbers) is not None:
            decision = self.scheduler.decide(self.history, current)
        self._decisions[current.number] = decision
        self._ledger.notify("report", current, decision.value)
        return decision

    def _reaches_end(self, trial: Trial) -> bool:
        """Whether a running trial has come to the fidelity at which it is complete."""
        ends = [end for end in (trial.until, self.problem.fidelity[1]) if end is not None]
        return bool(ends) and self._ledger.steps[trial.number] >= min(ends)

    @alone
    def tell(
        self,
        trial: Trial | int,
        metrics: Mapping[str, float] | float | None = None,
        *,
        error: str | BaseException | Failure | None = None,
        checkpoint: str | Path | None = None,
        data: Mapping[str, Json] | None = None,
    ) -> Trial:
        """End a running trial, or pause it where that was the last decision.

        Args:
            trial: it, or its number.
            metrics: the result; a number stands for the only objective; without it, the last report.
            error: why it failed. Final: retries are the runners' business.
            checkpoint: folder of its last checkpoint.
            data: JSON to keep with it.

        Raises:
            StudyError: if the trial is not running, or a number comes with several objectives.
        """
        current = self._ledger.running(trial, "tell")
        decision = self._decisions.pop(current.number, Decision.CONTINUE)
        current = dataclasses.replace(current, data={**current.data, **(data or {})})
        current = self._ledger.with_checkpoint(current, checkpoint)
        if error is not None:
            failure = arguments.failure(error)
            if failure.cause == "rejected":
                data = {**current.data, "rejected": failure.message}
                return self._finish(dataclasses.replace(current, data=data), State.STOPPED)
            return self._finish(current, State.FAILED, failure)
        if metrics is not None:
            current = dataclasses.replace(current, metrics=arguments.numbers(self._named(metrics)))
        elif decision is Decision.PAUSE:
            # It works: failures of others are then not those of a study that cannot.
            self._session_ends.append(self._ledger.pause(current))
            return self._session_ends[-1]
        if decision is Decision.STOP and not self._reaches_end(current):
            return self._finish(current, State.STOPPED)
        judged = valued(self.problem, current)
        if isinstance(judged, Failure):
            return self._finish(current, State.FAILED, judged)
        return self._finish(judged, State.COMPLETE)

    def _finish(self, trial: Trial, state: State, failure: Failure | None = None) -> Trial:
        trial = self._ledger.finish(trial, state, failure)
        self._session_ends.append(trial)
        return trial

    @alone
    def fail(self, trial: Trial | int, failure: Failure) -> Trial:
        """End an attempt that failed; the trial is tried again where `retries` allow it."""
        current = self._ledger.running(trial, "fail")
        if current.attempts.count(failure.cause) >= self.retries.allowed(failure.cause):
            return self.tell(current, error=failure)
        current = self._let_go(current, failure.cause)
        self._ledger.notify("retry", current, failure.message)
        return current

    @alone
    def interrupt(self, trial: Trial | int, *, checkpoint: str | Path | None = None) -> Trial:
        """Let go of a running trial so that the next session goes on with it from its newest checkpoint."""
        current = self._ledger.with_checkpoint(self._ledger.running(trial, "interrupt"), checkpoint)
        current = self._let_go(current, None)
        self._interrupted.add(current.number)
        self._ledger.notify("interrupt", current)
        return current

    def _let_go(self, trial: Trial, cause: str | None) -> Trial:
        self._decisions.pop(trial.number, None)
        self._waiting.append(trial.number)
        return self._ledger.leave(trial, cause)

    @alone
    def finish_paused(self) -> list[Trial]:
        """End every paused trial as stopped: called by runners when nothing will thaw them any more."""
        return [self._finish(t, State.STOPPED) for t in self.history.by_state(State.PAUSED)]

    def _named(self, metrics: Mapping[str, float] | float) -> Mapping[str, float]:
        if isinstance(metrics, Mapping):
            return metrics
        if len(self.problem.objectives) != 1:
            raise StudyError(f"tell: one number, {len(self.problem.objectives)} objectives. Give a mapping.")
        return {self.problem.objectives[0].metric: metrics}

    # -- running -------------------------------------------------------------------------------------------

    def job(self, trial: Trial, folder: Path | None = None) -> Job:
        """What a worker needs to run the present attempt of `trial`; see `choosing.job_of` for its seed."""
        return choosing.job_of(trial, self.history, folder)

    def keepers(self, best: int) -> set[int]:
        """Numbers of trials whose newest checkpoint stays: unfinished ones, the `best` N, possible parents.

        With several objectives the best are taken front by front, within a front by hypervolume; of the first front all
        stay, because any of them may be the one to go on from when the study is over.
        """
        kept = {trial.number for trial in self.history.pending}
        kept |= {trial.number for trial in best_trials(self.history, best)}
        if best and len(self.problem.objectives) > 1:
            kept |= {trial.number for trial in self.history.front}
        for part in (self.searcher, self.scheduler):
            if hasattr(part, "needs_checkpoints"):
                kept |= part.needs_checkpoints(self.history)
        return kept | {t.parent for t in self.history.pending if t.parent is not None}

    def run(
        self,
        objective: Objective | Callable[..., Any],
        *,
        trials: int | None = None,
        minutes: float | None = None,
        resources: Resources | Mapping[str, Any] | None = None,
        output: str | Path | None = None,
        runner: str | Mapping[str, Any] = "ray",
        settings: RunSettings | None = None,
        last: Callable[[Job], Stage] | None = None,
    ) -> "Study":
        """Run trials of `objective` until the budget is spent; stages first, the last one then. Returns the study.

        Args:
            objective: an Objective, or a function called as `f(config)`.
            trials: budget of this study from now on, in place of the constructor's.
            minutes: the same in minutes.
            resources: per trial, and `parallel`.
            output: folder for checkpoints and logs; none are kept without it.
            runner: name of a runner, or `{method: NAME, …options}`.
            settings: everything a runner may be told, in place of `resources` and `output`.
            last: makes the stage that goes on from the winner, from the winner's job; its name begins with `finally-`.
        """
        if trials is not None or minutes is not None:
            self.set_budget(
                arguments.budget({"trials": trials, "minutes": minutes, "cost": self.problem.budget.cost})
            )
        if settings is None:
            settings = RunSettings(
                output=None if output is None else Path(output).absolute(),
                resources=arguments.settings(Resources, resources or {}, "resources"),
            )
        if isinstance(objective, Objective):
            work: Objective = objective
        elif callable(objective) or isinstance(objective, str):
            work = plugins.load("adapters", "function")(objective)
        else:
            raise StudyError(f"run: needs an Objective or a function to call, got {objective!r}.")
        if hasattr(work, "check"):
            work.check(self.problem)
        worker = plugins.build("runners", runner, settings)
        try:
            run_stages(self, work, worker)
            worker.run(self, staged(work, self.history.stages))
            if last is not None and (self.budget_spent or not (self.history.pending or settings.debug)):
                run_last(self, last, worker)
        finally:
            if hasattr(worker, "close"):
                worker.close()
        return self

    def set_budget(self, budget: Budget) -> None:
        """Change what the study may spend from now on."""
        self.problem = dataclasses.replace(self.problem, budget=budget)
        self.history.problem = self.problem

    def set_workers(self, workers: int) -> None:
        """Tell searchers how many trials run at once."""
        self.problem = dataclasses.replace(self.problem, workers=workers)
        self.history.problem = self.problem

    def note(self, text: str) -> None:
        """Tell listeners something a person should know."""
        self._ledger.notify("note", None, text)

    def close(self) -> None:
        """Let go of the record."""
        self.record.close()

    def __enter__(self) -> "Study":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
