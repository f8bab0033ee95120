"""Any searcher as a search algorithm of Ray Tune: `tune.TuneConfig(search_alg=autosearch.RayTuneSearcher())`."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune.search import Searcher as TuneSearcher

from autosearch.core import (
    Decision,
    Failure,
    History,
    OptionError,
    Problem,
    Searcher,
    State,
    Study,
    Suggestion,
    Trial,
)
from autosearch.core.arguments import Direction
from autosearch.runners.ray.tune_space import TuneSpace
from autosearch.space import SearchSpace


class RayTuneSearcher(TuneSearcher):
    """A searcher of autosearch that proposes the trials of a plain `tune.Tuner`.

    The configuration reaches the trainable with dotted names nested. Give `tune.TuneConfig` as many
    `max_concurrent_trials` as fit: without it Tune starts trials one at a time. Suggestions are made in Tune's own
    loop, which waits for them; `Study.run` prepares them ahead.

    Args:
        space: parameters by name, a SearchSpace, or the name of a shipped one; None: from the Tuner's `param_space`.
        objectives: metric -> `minimize` or `maximize`, one or several; None: from `metric` and `mode` of the Tuner.
        searcher: a name, a mapping `{"method": NAME, …options}`, or a Searcher.
        seed: of every choice.
        constraints: outcome constraints over reported metrics.
        require: input constraints between parameters.
        max_t: training iteration at which a trial is complete. One that ends before, by Tune's scheduler, then
            counts as stopped and informs by its last report; None: every trial that ends is complete.

    Raises:
        AutosearchError: an argument is wrong.
    """

    def __init__(
        self,
        space: SearchSpace | Mapping[str, Any] | str | None = None,
        objectives: Mapping[str, Direction] | None = None,
        searcher: str | Mapping[str, Any] | Searcher = "bayesian",
        *,
        seed: int = 0,
        constraints: Sequence[str] = (),
        require: Sequence[str] = (),
        max_t: int | None = None,
    ) -> None:
        super().__init__()
        if require and space is None:
            raise OptionError("needs `space`: Tune's own has no names for constraints.", "require")
        self._options: dict[str, Any] = {
            "searcher": searcher,
            "seed": seed,
            "constraints": tuple(constraints),
            "fidelity": (None, max_t),
        }
        self._space, self._require, self._objectives = space, tuple(require), objectives
        self._tune_space: TuneSpace | None = None
        self._study: Study | None = None
        self._ends = _Ends()
        self._workers = 1
        self._numbers: dict[str, int] = {}  # of trials by Tune's identity
        self._log: list[tuple[str, Any]] = []  # what happened, for `save`
        if objectives is not None:
            self._metric, self._mode = _tune_names(objectives)
        if space is not None and objectives is not None:
            self._open()

    def set_search_properties(
        self,
        metric: str | None,
        mode: str | None,
        config: dict[str, Any],
        **spec: Any,  # noqa: ARG002 - Tune's signature
    ) -> bool:
        """Take from the Tuner what the arguments leave open.

        Returns:
            Whether the parameters are now those of `config`.

        Raises:
            OptionError: no objective is known, or a parameter is not understood.
        """
        if self._study is not None:
            return False
        if self._objectives is None:
            if not metric or not mode:
                raise OptionError(
                    "needs `objectives`, or `metric` and `mode` of tune.TuneConfig.", "objectives"
                )
            self._objectives = {metric: "maximize" if mode == "max" else "minimize"}
            self._metric, self._mode = metric, mode
        if self._space is None:
            self._tune_space = TuneSpace(config)
        self._open()
        return self._space is None  # else Tune refuses domains of its own beside them

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Know how many trials run at once; keeping to it stays with Tune."""
        self._workers = max_concurrent
        if self._study is not None:
            self._study.set_workers(max_concurrent)
        return False

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        """The next configuration; None for not now, `FINISHED` where the space is exhausted.

        Raises:
            OptionError: there is neither a space nor a `param_space`, or no objective.
        """
        study = self._opened()
        started = study.next(1)
        if not started:
            return None if study.history.pending else self.FINISHED
        (trial,) = started
        self._numbers[trial_id] = trial.number
        self._log.append(("begin", (trial_id, dict(trial.config), dict(trial.info))))
        return trial.nested if self._tune_space is None else self._tune_space.nested(trial.config)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Keep a report."""
        number, study = self._numbers.get(trial_id), self._opened()
        if number is None or study.history[number].state is not State.RUNNING:
            return
        step, metrics = int(result[TRAINING_ITERATION]), self._metrics(result)
        study.report(number, metrics, step=step)
        self._log.append(("report", (number, metrics, step)))

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Tune's signature
    ) -> None:
        """Keep the end of a trial: complete, stopped (see `max_t`) or failed."""
        number, study = self._numbers.get(trial_id), self._opened()
        if number is None or study.history[number].state is not State.RUNNING:
            return
        if error or not result:
            cause = "the trial raised an error" if error else "the trial ended without a result"
            study.tell(number, error=Failure("crash", cause))
            self._log.append(("fail", (number, cause)))
            return
        step, metrics = int(result[TRAINING_ITERATION]), self._metrics(result)
        self._finish(number, metrics, step)
        self._log.append(("end", (number, metrics, step)))

    def save(self, checkpoint_path: str) -> None:
        """Write what `restore` needs to a file."""
        Path(checkpoint_path).write_bytes(pickle.dumps(self.__getstate__()))

    def restore(self, checkpoint_path: str) -> None:
        """Be as the searcher was that wrote the file."""
        self.__setstate__(pickle.loads(Path(checkpoint_path).read_bytes()))

    # -- inside --------------------------------------------------------------------------------------------

    def _open(self) -> None:
        space = self._space if self._tune_space is None else self._tune_space.space
        if space is None or self._objectives is None:
            raise OptionError("needs a space and objectives.", "space")
        self._study = Study(
            space,
            self._objectives,
            require=self._require,
            scheduler=self._ends,
            workers=self._workers,
            **self._options,
        )

    def _opened(self) -> Study:
        if self._study is None:
            raise OptionError("needs `space`, or a `param_space` of the Tuner to search.", "space")
        return self._study

    def _metrics(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Of all that Tune adds to a result, the numbers that decide something."""
        problem = self._opened().problem
        wanted = {name for expression in problem.constraints for name in expression.names}
        for metric in problem.metric_names:
            wanted |= {metric, f"{metric}_sem"}
        return {name: value for name, value in result.items() if name in wanted}

    def _finish(self, number: int, metrics: Mapping[str, Any], step: int) -> None:
        study = self._opened()
        last = study.problem.fidelity[1]
        self._ends.early = last is not None and step < last
        study.report(number, metrics, step=step)
        self._ends.early = False
        study.tell(number, metrics)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_study": None, "_ends": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A study of the same arguments, to which all happens again."""
        self.__dict__.update(state)
        self._ends = _Ends()
        happened, self._numbers, self._log = self._log, {}, []
        if self._objectives is None or (self._space is None and self._tune_space is None):
            return
        self._open()
        for kind, content in happened:
            self._again(kind, *content)
        self._log = happened

    def _again(self, kind: str, *content: Any) -> None:
        study = self._opened()
        if kind == "begin":
            trial_id, config, info = content
            searched = {name: config[name] for name in study.problem.space.searched if name in config}
            (trial,) = study.start([Suggestion(searched, info=info)])
            self._numbers[trial_id] = trial.number
        elif kind == "report":
            number, metrics, step = content
            study.report(number, metrics, step=step)
        elif kind == "fail":
            number, cause = content
            study.tell(number, error=Failure("crash", cause))
        else:
            self._finish(*content)


class _Ends:
    """The study's scheduler: says of the last report of a trial that Tune ended early that it stops."""

    def __init__(self) -> None:
        self.early = False

    def milestones(self, problem: Problem) -> Sequence[int]:
        """Every step: any report may turn out to be a trial's last."""
        return range(1, (problem.fidelity[1] or 0) + 1)

    def decide(self, history: History, trial: Trial) -> Decision:  # noqa: ARG002
        return Decision.STOP if self.early else Decision.CONTINUE

    def propose(self, history: History, n: int) -> list[Suggestion]:  # noqa: ARG002
        return []


def _tune_names(objectives: Mapping[str, Direction]) -> tuple[Any, Any]:
    """`metric` and `mode` as Tune writes them."""
    metrics = list(objectives)
    modes = ["max" if direction == "maximize" else "min" for direction in objectives.values()]
    return (metrics[0], modes[0]) if len(metrics) == 1 else (metrics, modes)
