"""The phases of AutoLRS without any network: which learning rate the next step takes, and what to save and restore.

Whoever trains asks `lr` before a step, tells the loss by `observe` after it, and carries out the actions that come
back, in order: ("store", name), ("restore", name), ("drop", name).

| symbol | meaning |
|---|---|
| `steps` | optimizer steps that the network has behind it |
| `lost` | steps that were rolled back; `steps + lost` is what the run has cost |
| `x` | logarithm of the learning rate before the base schedule's factor |
| `tau` | steps of a stage |
"""

import copy
import math
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from autosearch.methods.autolrs import range_test, scoring
from autosearch.methods.autolrs.choice import best_improvement, lowest_bound
from autosearch.methods.autolrs.settings import Settings

Action = tuple[Literal["store", "restore", "drop"], str]
Validate = Callable[[], float]

_FOR_GOOD = 2**62  # steps of a stage behind which no decision comes
_TOO_OFTEN = 5  # divergences of training after which nothing but an error helps
_LITTLE = 0.01  # expected improvement, as a share of the spread, that is not worth a candidate
_DRIFT = 0.5  # spreads by which the loss of a learning rate may have changed from one stage to the next
_SAME = 0.01  # relative change of the learning rate that the trace leaves out


@dataclass(frozen=True, slots=True)
class Plan:
    """What trying a candidate takes: equal plans from equal states lead to equal losses, wherever they are made.

    Attributes:
        lrs: learning rate of each step.
        validated: steps, from 1, after which a validation loss is wanted.
    """

    lrs: tuple[float, ...]
    validated: tuple[int, ...]


@dataclass
class State:
    """Everything that a resumed run needs besides the snapshots; plain numbers and lists.

    Attributes:
        phase: what the next step belongs to.
        stage: from 0.
        tau: steps that this stage trains.
        done: steps of the present phase, or of the present candidate.
        x: logarithm of the learning rate in use.
        candidate: logarithm of the one being tried.
        high: logarithm of the largest that may be tried.
        losses: of the present candidate or of the range test.
        validations: (step, loss) of the present candidate.
        tried: (x, score, variance) of this stage.
        past: of earlier stages: (stage, x, score, variance), relative to the learning rate then in use.
        reference: losses of this stage's first candidate that did not diverge.
        alive: loss that the range test shows a learning network to be below.
        rising: candidates of this stage whose loss rose.
        best: index of the best in `tried` whose end is stored, -1 for none.
        begun: (steps, lost) when the search began.
        trace: (step, learning rate) where it changed, for the network's own steps.
        kept_trace: the same of the best candidate.
        choices: (stage, steps, lost, learning rate, loss forecast) of every choice.
    """

    phase: Literal["warmup", "range", "search", "train"] = "train"
    stage: int = 0
    tau: int = 0
    done: int = 0
    steps: int = 0
    lost: int = 0
    x: float = 0.0
    candidate: float = 0.0
    high: float = 0.0
    losses: list[float] = field(default_factory=list)
    validations: list[tuple[int, float]] = field(default_factory=list)
    tried: list[tuple[float, float, float]] = field(default_factory=list)
    past: list[tuple[int, float, float, float]] = field(default_factory=list)
    reference: list[float] = field(default_factory=list)
    alive: float = math.inf
    rising: int = 0
    best: int = -1
    begun: tuple[int, int] = (0, 0)
    trace: list[tuple[int, float]] = field(default_factory=list)
    kept_trace: list[tuple[int, float]] = field(default_factory=list)
    choices: list[tuple[int, int, int, float, float]] = field(default_factory=list)
    diverged: int = 0
    rescues: int = 0
    uninformative: int = 0
    given_up: bool = False
    validated: int = 0


class Controller:
    """Decides; see the module's head for how it is driven.

    Args:
        settings: how it searches.
        base: factor of the learning rate after so many steps of cost; constant 1 for the paper's search.
        seed: of the first candidate of the paper's search.
        validates: whether a validation loss can be had.
    """

    def __init__(
        self,
        settings: Settings,
        base: Callable[[int], float] | None = None,
        *,
        seed: int = 0,
        validates: bool = False,
    ) -> None:
        self.settings = settings
        self.base = base or (lambda _: 1.0)
        self.seed = seed
        self.validates = validates
        start = settings.start or math.sqrt(settings.low * settings.high)
        self.state = State(x=math.log(start), high=math.log(settings.high))

    # -- what the next step is -----------------------------------------------------------------------------

    def begin(self) -> list[Action]:
        """Before the first step of the run."""
        if self.settings.warmup_steps:
            self.state.phase = "warmup"
            return []
        return self._after_warmup()

    @property
    def lr(self) -> float:
        """Of the next step."""
        s = self.state
        if s.phase == "warmup":
            top = self.settings.warmup_lr or math.exp(s.x)
            return top * (s.done + 1) / self.settings.warmup_steps
        if s.phase == "range":
            return range_test.sweep(self.settings.low, math.exp(s.high), self.settings.range_test, s.done)
        if s.phase == "search":
            return self._candidate_lr(s.candidate, s.done, s.steps + s.lost)
        return math.exp(s.x) * self.base(s.steps + s.lost)

    def _candidate_lr(self, x: float, done: int, spent: int) -> float:
        cooling = scoring.cooling(done, self._probe) if self.settings.score == "cooled" else 1.0
        top = math.log(self.settings.high)
        return math.exp(min(x + self._shift, top)) * self.base(spent) * cooling

    def lr_ahead(self, steps: int) -> float:
        """Of the step after `steps` more, while training goes on; `lr` itself for 0."""
        s = self.state
        return self.lr if steps == 0 else math.exp(s.x) * self.base(s.steps + steps + s.lost)

    @property
    def searching(self) -> bool:
        """Whether the next step will or may be rolled back."""
        return self.state.phase in ("range", "search")

    @property
    def spent(self) -> int:
        """Steps made, search included."""
        return self.state.steps + self.state.lost

    @property
    def until_decision(self) -> int:
        """Steps that may be made before `observe` must hear of each: more than 1 only where training just goes on."""
        s = self.state
        return max(1, s.tau - s.done) if s.phase == "train" else 1

    @property
    def _shift(self) -> float:
        """What a candidate of few steps adds to the logarithm that suits all that is left of the run."""
        s, settings = self.state, self.settings
        if not settings.horizon_exponent or settings.total_steps is None:
            return 0.0
        left = settings.total_steps - s.begun[0] - s.begun[1]
        return settings.horizon_exponent * math.log(max(1.0, left / self._probe))

    @property
    def _probe(self) -> int:
        return self.settings.probe(self.state.tau)

    # -- what a step showed --------------------------------------------------------------------------------

    def observe(self, loss: float, validate: Validate | None = None, steps: int = 1) -> list[Action]:
        """Take in the loss of the step just made (the mean over `steps` of them, while training goes on).

        Raises:
            FloatingPointError: if training diverged too often.
        """
        s = self.state
        self._note_lr(steps)
        s.steps += steps
        s.done += steps
        actions = self._taken(loss, validate)
        total = self.settings.total_steps
        if total is not None and self.spent >= total and self.searching and s.done:
            # The run is over inside a candidate, which nobody has judged: it ends with what was trained.
            self._roll_back()
            s.phase, s.done, s.tau = "train", 0, _FOR_GOOD
            return [*actions, ("restore", "stage")]
        return actions

    def _taken(self, loss: float, validate: Validate | None) -> list[Action]:
        s = self.state
        if s.phase == "warmup":
            return self._after_warmup() if s.done >= self.settings.warmup_steps else []
        if s.phase == "range":
            return self._observe_range(loss)
        if s.phase == "search":
            return self._observe_candidate(loss, validate)
        if not math.isfinite(loss):
            return self._rescue()
        return self._begin_stage() if s.done >= s.tau else []

    def _note_lr(self, steps: int) -> None:
        s = self.state
        for i in range(steps):
            lr = self.lr_ahead(i)
            if not s.trace or abs(lr - s.trace[-1][1]) > _SAME * s.trace[-1][1]:
                s.trace.append((s.steps + i, lr))

    def _after_warmup(self) -> list[Action]:
        s = self.state
        if self.settings.range_test:
            s.phase, s.done, s.losses, s.begun = "range", 0, [], (s.steps, s.lost)
            return [("store", "stage")]
        return self._begin_stage(first=True)

    def _observe_range(self, loss: float) -> list[Action]:
        s = self.state
        s.losses.append(loss)
        if s.done < self.settings.range_test and not range_test.is_over(s.losses, self.settings.range_test):
            return []
        lrs = [
            range_test.sweep(self.settings.low, math.exp(s.high), self.settings.range_test, i)
            for i in range(len(s.losses))
        ]
        s.x = math.log(range_test.steepest(lrs, s.losses, self.settings.range_test))
        s.alive = range_test.alive(s.losses, self.settings.range_test)
        self._roll_back()
        return [("restore", "stage"), *self._begin_stage(first=True)]

    # -- stages --------------------------------------------------------------------------------------------

    def _begin_stage(self, *, first: bool = False) -> list[Action]:
        s, settings = self.state, self.settings
        if not first:
            s.stage += 1
            s.tau = 2 * s.tau
        else:
            s.tau = settings.tau
        if settings.tau_max is not None:
            s.tau = min(s.tau, settings.tau_max)
        s.done = 0
        if not self._searches():
            s.phase = "train"
            s.tau = _FOR_GOOD
            return [("drop", "stage")]
        s.phase, s.begun, s.tried, s.best, s.rising = "search", (s.steps, s.lost), [], -1, 0
        s.losses, s.validations, s.reference = [], [], []
        s.candidate = self._propose()[0]
        return [("store", "stage")]

    def _searches(self) -> bool:
        """Whether this stage searches; cuts `tau` to what remains."""
        s, settings = self.state, self.settings
        if s.given_up:
            return False
        if settings.total_steps is None:
            return True
        remaining = settings.total_steps - self.spent
        if self.spent >= settings.until * settings.total_steps or remaining < 1:
            return False
        count = self._count
        if s.tau + count * self._probe > remaining:
            s.tau = int(remaining / (1 + count / settings.ratio))
        return s.tau > 0 and s.tau + count * self._probe <= remaining + count

    @property
    def _count(self) -> int:
        return self.settings.candidates if self.state.stage else self.settings.first_candidates

    def _propose(self) -> tuple[float, float]:
        """The next candidate, and the improvement expected of it as a share of the spread."""
        s, settings = self.state, self.settings
        low = math.log(settings.low)
        if settings.choice == "bound":
            xs, ys = [t[0] for t in s.tried], [t[1] for t in s.tried]
            seed = self.seed + s.stage
            return lowest_bound(xs, ys, low, s.high, kappa=settings.kappa, seed=seed), 1.0
        if not s.tried:
            return s.x, 1.0
        trust = settings.trust if s.stage else settings.first_trust
        reach = math.log(trust) if trust else math.inf
        low, high = max(low, s.x - reach), min(s.high, s.x + reach)
        finite = [t for t in s.tried if math.isfinite(t[1])]
        if s.stage == 0 and len(s.tried) < 3:
            # Two more places to begin with; the second follows the slope between the first two.
            up = len(s.tried) == 1 or (len(finite) == 2 and finite[1][1] < finite[0][1])
            far = min(high, s.x + reach / 2) if len(s.tried) == 1 else (high if up else s.x - reach / 2)
            return max(low, far), 1.0
        if not finite:
            return max(low, min(t[0] for t in s.tried) - math.log(10)), 1.0
        zero = finite[0][1] if s.stage else 0.0
        spread = max((abs(t[1] - zero) for t in finite), default=0.0)
        points = [(x, y, v) for x, y, v in finite]
        for stage, x, y, v in s.past:
            drift = (_DRIFT * max(spread, abs(y))) ** 2 * (s.stage - stage)
            points.append((x, zero + y, v + drift))
        return best_improvement(
            [p[0] for p in points], [p[1] for p in points], [p[2] for p in points], low, high
        )

    # -- candidates ----------------------------------------------------------------------------------------

    def _observe_candidate(self, loss: float, validate: Validate | None) -> list[Action]:
        s = self.state
        s.losses.append(loss)
        if validate is not None and math.isfinite(loss) and self._validates(s.done):
            s.validations.append((s.done, validate()))
            s.validated += 1
        return self._finish_candidate() if s.done >= self._probe or not math.isfinite(loss) else []

    def _validates(self, done: int) -> bool:
        """Whether a validation loss is wanted after `done` steps of a candidate."""
        if not self._uses_validation:
            return False
        cooled = self.settings.score == "cooled"
        return done >= self._probe or (not cooled and done % self.settings.validate_every == 0)

    @property
    def _uses_validation(self) -> bool:
        """The paper's search validates once stages have reached their full length, the modern one always."""
        limit = self.settings.tau_max
        return self.validates and (limit is None or self.state.tau >= limit)

    def _finish_candidate(self) -> list[Action]:
        s = self.state
        horizon = s.tau
        if self.settings.total_steps is not None:
            horizon = min(horizon, self.settings.total_steps - s.begun[0] - s.begun[1])
        score = scoring.score(self.settings.score, s.losses, s.validations, s.reference, horizon)
        s.rising += score.rising or not math.isfinite(score.mean)
        s.diverged += not math.isfinite(score.mean)
        if not s.reference and math.isfinite(score.mean):
            s.reference = list(s.losses)
        s.tried.append((s.candidate, score.mean, score.variance))
        actions: list[Action] = []
        index = len(s.tried) - 1
        if math.isfinite(score.mean) and (s.best < 0 or score.mean < s.tried[s.best][1]):
            s.best = index
            s.kept_trace = [point for point in s.trace if point[0] >= s.begun[0]]
            if self.settings.keep_winner:
                actions.append(("store", "best"))
        self._roll_back()
        actions.append(("restore", "stage"))
        s.done, s.losses, s.validations = 0, [], []
        if len(s.tried) < self._count:
            s.candidate, gain = self._propose()
            enough = len(s.tried) >= min(3, self._count - 1)
            if not enough or gain >= _LITTLE:
                return actions
        return actions + self._choose()

    def _roll_back(self) -> None:
        s = self.state
        made = s.steps - s.begun[0]
        s.steps, s.lost = s.begun[0], s.lost + made
        s.trace = [point for point in s.trace if point[0] < s.begun[0]]

    def _choose(self) -> list[Action]:
        s, settings = self.state, self.settings
        if s.best < 0:
            return self._shrink("diverged")
        if s.stage == 0 and s.rescues == 0 and s.tried[s.best][1] > s.alive:
            return self._shrink("left the network dead, unlike the range test")
        chosen = s.best
        x, y, v = s.tried[chosen]
        if settings.choice == "improvement":
            x0, y0, v0 = s.tried[0]
            if math.isfinite(y0):
                if y > y0 - settings.hysteresis * math.sqrt(v + v0):
                    chosen, x, y = 0, x0, y0
                s.past += [(s.stage, t[0], t[1] - y0, t[2]) for t in s.tried if math.isfinite(t[1])]
            self._judge()
        s.x = s.tried[0][0] if s.given_up else x
        s.phase, s.done = "train", 0
        s.choices.append((s.stage, s.steps, s.lost, math.exp(s.x), y))
        actions: list[Action] = []
        if settings.keep_winner and chosen == s.best and not s.given_up:
            kept = settings.probe(s.tau)
            s.steps, s.lost, s.done = s.steps + kept, s.lost - kept, kept
            s.trace += s.kept_trace
            actions.append(("restore", "best"))
        if settings.keep_winner:
            actions.append(("drop", "best"))
        return actions

    def _judge(self) -> None:
        """Give up where two searches in a row told nothing; says so once."""
        s = self.state
        finite = [t for t in s.tried if math.isfinite(t[1])]
        values = [t[1] for t in finite]
        noise = math.sqrt(sum(t[2] for t in finite) / len(finite))
        told = max(values) - min(values) > max(noise, 1e-12 * abs(values[0])) and s.rising < len(s.tried)
        s.uninformative = 0 if told or len(finite) < len(s.tried) else s.uninformative + 1
        if s.uninformative >= 2 and s.stage < 2:
            s.given_up = True
            warnings.warn(
                f"the loss tells nothing of learning rates (constant, rising or all noise) after {self.spent} steps; "
                f"the base schedule is followed from here on.",
                stacklevel=2,
            )

    def _shrink(self, what: str) -> list[Action]:
        """All candidates diverged, or the network died: the interval ends at a tenth, and the stage searches again."""
        s = self.state
        before = s.high
        s.high -= math.log(10)
        s.rescues += 1
        if s.rescues > _TOO_OFTEN or s.high <= math.log(self.settings.low):
            raise FloatingPointError(
                f"training diverged at all {len(s.tried)} learning rates up to {math.exp(before):g}; the smallest "
                f"allowed is {self.settings.low:g}."
            )
        warnings.warn(
            f"all {len(s.tried)} candidates {what}; learning rates up to {math.exp(s.high):g} are tried instead of "
            f"{math.exp(before):g}.",
            stacklevel=2,
        )
        s.x, s.tried, s.best, s.rising, s.reference = min(s.x, s.high), [], -1, 0, []
        s.candidate = self._propose()[0]
        return []

    def _rescue(self) -> list[Action]:
        """Training itself diverged: back to the start of the stage with a quarter of the learning rate."""
        s = self.state
        s.rescues += 1
        if s.rescues > _TOO_OFTEN or not s.choices or s.tau >= _FOR_GOOD:
            raise FloatingPointError(
                f"training diverged: the loss is not finite at step {s.steps} (lr {math.exp(s.x):g})."
            )
        self._roll_back()
        s.x -= math.log(4)
        s.high = min(s.high, s.x)
        s.done = 0
        warnings.warn(
            f"the loss is not finite at step {s.steps}; back to the start of the stage with a learning rate of "
            f"{math.exp(s.x):g}.",
            stacklevel=2,
        )
        return [("restore", "stage")]

    # -- candidates side by side ---------------------------------------------------------------------------

    @property
    def plan(self) -> Plan:
        """Of the present candidate, from the stage's start."""
        return self._plan(self.state.candidate, self.state.begun[0] + self.state.lost)

    def prospects(self, limit: int) -> list[Plan]:
        """Up to `limit` plans that may come next in this stage, the present candidate's first.

        The next candidate depends on losses that are not known yet: there is one for every guess at whether they will
        be the best or the worst so far. Where guesses lead to a candidate that is then not asked for, its steps were
        made in vain.
        """
        s = self.state
        found: dict[Plan, None] = {}
        ahead = deque([(s.candidate, s.tried)])
        while ahead and len(found) < limit:
            x, tried = ahead.popleft()
            plan = self._plan(x, s.begun[0] + s.lost + (len(tried) - len(s.tried)) * self._probe)
            if plan in found:
                continue
            found[plan] = None
            if len(tried) + 1 < self._count:
                for guess in _guesses([y for _, y, _ in tried if math.isfinite(y)]):
                    scratch = copy.copy(self)
                    scratch.state = replace(s, tried=[*tried, (x, guess, 0.0)])
                    ahead.append((scratch._propose()[0], scratch.state.tried))
        return list(found)

    def _plan(self, x: float, spent: int) -> Plan:
        steps = range(self._probe)
        return Plan(
            tuple(self._candidate_lr(x, i, spent + i) for i in steps),
            tuple(i + 1 for i in steps if self._validates(i + 1)),
        )

    # -- resuming ------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The state in plain numbers, texts and lists."""
        return asdict(self.state)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`."""
        values = dict(state)
        for name in ("validations", "tried", "past", "trace", "kept_trace", "choices"):
            values[name] = [tuple(item) for item in values[name]]
        values["begun"] = tuple(values["begun"])
        values["losses"], values["reference"] = list(values["losses"]), list(values["reference"])
        self.state = State(**values)


def _guesses(losses: list[float]) -> list[float]:
    """Losses of a candidate that has not been tried: any will do for the first, then the best and the worst so far."""
    if not losses:
        return [1.0]
    low, high = min(losses), max(losses)
    step = (high - low) or abs(low) or 1.0
    return [low - step, high + step]
