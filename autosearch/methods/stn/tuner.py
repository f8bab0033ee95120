"""Self-tuning for anybody's training loop: hyperparameters that adapt while the network trains.

| symbol | meaning | shape |
|---|---|---|
| u, sigma | means and scales of the hyperparameters, unconstrained | (H,) |
| lambda | u + sigma * eps, what a pass is made with | (B, H) |
| h | input of the responses: lambda - u (centred), else lambda | (B, H) |
| w(h) | weights: those of the network, with the responses to h | |

Source: MacKay et al. 2019, "Self-Tuning Networks", algorithm 1 (`preset="paper"`); Bae and Grosse 2020, "Delta-STN",
algorithm 1 (`modern`, but for what the method's README lists).
"""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.autograd.forward_ad as forward_ad
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves

from autosearch.core.errors import OptionError
from autosearch.learning import RandomState
from autosearch.learning.checkpoints import detached
from autosearch.methods.stn.binding import Noted, bind
from autosearch.methods.stn.buffers import Untouched
from autosearch.methods.stn.convert import convert
from autosearch.methods.stn.hyper import Hyperparameters, Tuned
from autosearch.methods.stn.layers import BatchNormResponse
from autosearch.methods.stn.linear import DoubleBackward
from autosearch.methods.stn.penalties import PENALTIES, Penalties
from autosearch.methods.stn.replay import Recorder, decay_scales, set_weight_decay
from autosearch.methods.stn.settings import Settings, resolve
from autosearch.methods.stn.signal import Linearised
from autosearch.methods.stn.validation import Validation

Values = Mapping[str, torch.Tensor]
TrainLoss = Callable[[Any, Any, Values], torch.Tensor]
ValidationLoss = Callable[[Any, Any], torch.Tensor]

_ADAPTIVE_LR = (
    0.1  # of responses beside Adam: at the network's own rate they are noise within a hundred steps
)
_MOST_SKIPPED = 20  # updates in a row that were not finite before it is an error


@dataclass(frozen=True, slots=True)
class StepInfo:
    """What `DeltaSTN.step` did.

    Attributes:
        step: of the network, from 1.
        values: of the hyperparameters from here on.
        validation_loss: of the batch on which they were just moved; None in other steps.
    """

    step: int
    values: Mapping[str, float]
    validation_loss: float | None


class DeltaSTN:
    """Tunes dropout, weight decay, augmentation, loss weights and the like inside one training run.

        tuner = DeltaSTN(model, optimizer, {"dropout": {"low": 0.0, "high": 0.9}}, loss=loss, val_loss=val_loss,
                         validation=val_batches)
        for batch in loader:
            optimizer.zero_grad()
            tuner.loss(batch).backward()
            optimizer.step()
            tuner.step(batch)
        plain = tuner.export()

    `loss(model, batch, values)` is the mean training loss, from `values[name]` of shape (B,), one for each example, or
    (1,) where shared. It must call the `model` that it is given, which may be a linearised one, and may augment the
    batch. `val_loss(model, batch)` has no regularisation. `dropout` (all layers; `dropout.PATH` for one; `per_layer:
    true` for each its own), `weight_decay`, `activation_penalty` and `temporal_penalty` are bound without a word in
    the loss.

    The network is changed in place, but for its parameters and its state dict; `export` gives a plain copy. Only
    `nn.Dropout` modules can be bound, not calls of `functional.dropout`.

    Args:
        model: the user's network, on its device.
        optimizer: over its parameters.
        tune: name -> `low`, `high`, `init`, `log`, `discrete`, `shared`, `sigma` (see `Tuned`); of a penalty also `of`,
            the path of the module whose input it is of, instead of the last linear layer.
        loss: mean training loss.
        val_loss: mean validation loss.
        validation: validation batches, an iterable that can be gone through again and again.
        preset: modern or paper.
        exclude: paths of layers to leave without a response.
        unknown: what to do with trainable layers without a known response: `refuse` or `plain`.
        batch_dim: dimension of inputs that counts examples.
        options: fields of `autosearch.methods.stn.settings.Settings`.

    Raises:
        OptionError: for what cannot be tuned or converted.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        tune: Mapping[str, Mapping[str, Any]],
        *,
        loss: TrainLoss,
        val_loss: ValidationLoss,
        validation: Iterable[Any],
        preset: str = "modern",
        exclude: Sequence[str] = (),
        unknown: Literal["refuse", "plain"] = "refuse",
        batch_dim: int = 0,
        **options: Any,
    ) -> None:
        if unknown not in ("refuse", "plain"):
            raise OptionError(f"unknown: refuse or plain, got {unknown!r}.", "unknown")
        self.settings: Settings = resolve(preset, options)
        self.model, self.optimizer = model, optimizer
        self._loss, self._val_loss = loss, val_loss
        self._batch_dim = batch_dim
        tuned, self._drops = bind(model, optimizer, tune)
        places = {name: tune[name].get("of") for name in tune if name in PENALTIES}
        self.converted = convert(
            model,
            len(tuned),
            exclude=exclude,
            unknown=unknown,
            tied=self.settings.tied,
            batch_dim=batch_dim,
        )
        with ExitStack() as undo:  # the network is left as it came where anything below does not fit
            undo.callback(self.converted.undo)
            self._penalties = Penalties(model, places, batch_dim)
            undo.callback(self._penalties.leave, model)
            self._prepare(tuned, validation)
            undo.pop_all()
        self._show()

    def _prepare(self, tuned: Sequence[Tuned], validation: Iterable[Any]) -> None:
        model, optimizer = self.model, self.optimizer
        if not self.settings.centred and self.converted.shares_weights:
            raise OptionError(
                "preset: paper puts responses into the weights, and this network uses one weight in two places; "
                "exclude the layers that share it.",
                "exclude",
            )
        for path, name in self._drops.items():
            self.converted.bind_dropout(path, name)
        norms = [r for r in self.converted.responses.values() if isinstance(r, BatchNormResponse)]
        for norm in norms:
            norm.trains = not self.settings.centred
        known = {id(buffer) for norm in norms for buffer in norm.layer.buffers()}
        self._untouched = Untouched([buffer for buffer in model.buffers() if id(buffer) not in known])
        device = next(model.parameters()).device
        self.hyper = Hyperparameters(tuned, sigma=self.settings.sigma, device=device)
        if self.settings.scale_init:
            nn.init.normal_(self.converted.scale, std=self.settings.scale_init)
        self._general = self.converted.general_parameters()
        self._responding = self.converted.response_parameters()
        self._decay_scales = decay_scales(optimizer)
        self._response_lr = self.settings.response_lr or (_ADAPTIVE_LR if _adaptive(optimizer) else 1.0)
        self.response_optimizer = _like(optimizer, self._responding)
        self.hyper_optimizer = self._make_hyper_optimizer()
        self._validation = Validation(validation, self._size, len(tuned))
        self._linearise = "forward" if self.settings.linearise == "auto" else self.settings.linearise
        self.steps = 0
        self._heard = False  # whether the loss has been asked once, and what it read was looked at
        self._skipped = 0
        self._present = self.hyper.present()
        self._recorder = Recorder(self.hyper.names, list(self._present.values()))
        self._expanded: dict[str, torch.Tensor] = {}

    def _make_hyper_optimizer(self) -> torch.optim.Optimizer:
        settings = self.settings
        moved = [self.hyper.u, self.hyper.rho] if settings.tune_sigma else [self.hyper.u]
        if settings.hyper_optimizer == "adam":
            return torch.optim.Adam(moved, lr=settings.hyper_lr)
        return torch.optim.RMSprop(moved, lr=settings.hyper_lr)

    # -- training ------------------------------------------------------------------------------------------

    def loss(self, batch: Any) -> torch.Tensor:
        """The training loss of a batch that the network's own optimizer step is made for, penalties included."""
        n = self._size(batch)
        if self.settings.centred:
            values = {name: value.expand(n) for name, value in self._expanded.items()}
            return self._penalised(self.model, batch, values)
        with torch.no_grad():
            lam = self.hyper.u + self.hyper.sigma * self.hyper.draw(n)
        values = self.hyper.constrain(lam)
        gains = self.converted.gains(lam)
        with self.converted.signal.showing(gains, values):
            loss = self._penalised(self.model, batch, values)
        return loss + self._decay(gains, values)

    def _penalised(self, model: Any, batch: Any, values: Values) -> torch.Tensor:
        self._penalties.watch()
        if self._heard:
            return self._loss(model, batch, values) + self._penalties(values)
        self._heard, noted = True, Noted(values)
        found = self._loss(model, batch, noted) + self._penalties(values)
        noted.warn()
        return found

    def step(self, batch: Any) -> StepInfo:
        """Call after each `optimizer.step()` with the batch that it was made for.

        Raises:
            FloatingPointError: if losses are not finite again and again.
        """
        self.steps += 1
        settings = self.settings
        if not settings.centred:
            grads = [p.grad for p in self._responding]
            if all(grad is None for grad in grads):
                raise _deaf()
            self._step_responses(grads)
        elif self.steps % settings.response_every == 0:
            self._fit_responses(batch)
        found = None
        if self.steps > settings.warmup and self.steps % settings.hyper_every == 0:
            found = self._move()
            self._present = self.hyper.present()
            self._recorder.add(self.steps, list(self._present.values()))
            self._show()
        elif not settings.centred:
            self._show_responses()
        return StepInfo(self.steps, self._present, found)

    def _fit_responses(self, batch: Any) -> None:
        """One step of the responses: predictions at perturbed values, linear in the perturbation."""
        with torch.no_grad():
            offsets = self.hyper.sigma * self.hyper.draw(self._size(batch))
            values = self.hyper.constrain(self.hyper.u + offsets)
        with _fixed(self._general), self._untouched.kept():
            loss, grads = self._perturbed(batch, offsets, values)
        if self._judged(loss, "responses"):
            self._step_responses(grads)

    def _perturbed(
        self, batch: Any, offsets: torch.Tensor, values: Values
    ) -> tuple[torch.Tensor, Sequence[torch.Tensor | None]]:
        """The loss at perturbed values, and its gradients by the responses."""
        signal = self.converted.signal
        gains = self.converted.gains(offsets)
        with ExitStack() as stack:
            model: Any = self.model
            if self._linearise == "forward":
                stack.enter_context(forward_ad.dual_level())
                stack.enter_context(
                    sdpa_kernel(SDPBackend.MATH)
                )  # the fused kernels have no derivative forward
                stack.enter_context(signal.showing(gains, values, tangent=True))
                model = Linearised(self.model)
            elif self._linearise == "double":
                stack.enter_context(sdpa_kernel(SDPBackend.MATH))
                model = DoubleBackward(self.model, signal, gains, values)
            else:
                stack.enter_context(signal.showing(gains, values))
            try:
                loss = self._penalised(model, batch, values)
                if not loss.requires_grad:
                    raise _deaf()
                loss = loss + self._decay(gains, values)
                # Here, where layers still see what they saw: activation checkpointing makes passes again.
                return loss, torch.autograd.grad(loss, self._responding, allow_unused=True)
            except NotImplementedError as error:
                if self.settings.linearise != "auto" or self._linearise != "forward":
                    raise OptionError(
                        f"linearise: a layer has no derivative of the kind: {_first_line(error)} Use `linearise: off`.",
                        "linearise",
                    ) from error
                self._linearise = "double"
                warnings.warn(
                    f"linearise: {_first_line(error)} Derivatives are taken by double backward from here on, which "
                    "costs more.",
                    stacklevel=4,
                )
        return self._perturbed(batch, offsets, values)

    def _decay(self, gains: torch.Tensor, values: Values) -> torch.Tensor | float:
        """The penalty that weight decay stands for: what responses add to it, or all of it where they train jointly."""
        if "weight_decay" not in values:
            return 0.0
        ratios = {
            id(p): scale
            for group, scale in zip(self.optimizer.param_groups, self._decay_scales, strict=True)
            for p in group["params"]
        }
        return (
            0.5
            * (
                values["weight_decay"]
                * self.converted.decay(gains, self.optimizer, ratios, joint=not self.settings.centred)
            ).mean()
        )

    def _step_responses(self, grads: Sequence[torch.Tensor | None]) -> None:
        lr = float(self.optimizer.param_groups[0]["lr"]) * self._response_lr
        for group in self.response_optimizer.param_groups:
            group["lr"] = lr
        for p, grad in zip(self._responding, grads, strict=True):
            p.grad = grad
        self.response_optimizer.step()
        self.response_optimizer.zero_grad(set_to_none=True)

    def _move(self) -> float:
        """One step of the hyperparameters along the gradient of the validation loss; returns that loss."""
        batch, hyper, settings = self._validation.next(), self.hyper, self.settings
        modes = [module for module in self.model.modules() if module.training]
        self.model.eval()
        try:
            with _fixed([*self._general, *self._responding]):
                lam = hyper.u
                if settings.tune_sigma:
                    lam = hyper.u + hyper.sigma * hyper.draw(self._size(batch))
                h = lam - hyper.u.detach() if settings.centred else lam
                with self.converted.signal.showing(self.converted.gains(h.view(-1, len(hyper))), None):
                    found = self._val_loss(self.model, batch)
                    loss = found - settings.entropy * hyper.entropy() if settings.tune_sigma else found
                    moved = [hyper.u, hyper.rho] if settings.tune_sigma else [hyper.u]
                    grads = torch.autograd.grad(loss, moved, allow_unused=True)
        finally:
            for module in modes:
                module.training = True
        if self._judged(
            torch.stack([loss, *(g.sum() for g in grads if g is not None)]).sum(), "hyperparameters"
        ):
            for p, grad in zip(moved, grads, strict=True):
                p.grad = None if grad is None else grad.clamp(-settings.clip, settings.clip)
            self.hyper_optimizer.step()
            self.hyper_optimizer.zero_grad(set_to_none=True)
            self._keep_scales()
        return float(found.detach())

    def _keep_scales(self) -> None:
        """Scales inside their bounds: too small and a response cannot be learnt, too large and it is not local."""
        low, high = (
            float(torch.log(torch.expm1(torch.tensor(end))))
            for end in (self.settings.sigma_low, self.settings.sigma_high)
        )
        with torch.no_grad():
            self.hyper.rho.clamp_(low, high)

    def _judged(self, loss: torch.Tensor, what: str) -> bool:
        if bool(torch.isfinite(loss)):
            self._skipped = 0
            return True
        self._skipped += 1
        if self._skipped >= _MOST_SKIPPED:
            present = ", ".join(f"{name}={value:g}" for name, value in self._present.items())
            raise FloatingPointError(
                f"self-tuning diverged: {self._skipped} updates in a row were not finite, the last of the {what} at "
                f"step {self.steps} ({present}). Lower hyper_lr or the network's learning rate, or narrow the ranges."
            )
        return False

    # -- what the network sees -----------------------------------------------------------------------------

    def _show(self) -> None:
        """Put the present values where plain passes find them."""
        self._expanded = dict(self.hyper.constrain(self.hyper.u[None]))
        self.converted.set_dropout(self._present)
        if "weight_decay" in self._present:
            # Trained jointly, the penalty is in the loss, where it is that of perturbed values.
            value = self._present["weight_decay"] if self.settings.centred else 0.0
            set_weight_decay(self.optimizer, self._decay_scales, value)
        self._show_responses()

    def _show_responses(self) -> None:
        """Without centring a plain pass is one at the means."""
        if not self.settings.centred:
            with torch.no_grad():
                self.converted.signal.gains = self.converted.gains(self.hyper.u[None])

    @property
    def values(self) -> dict[str, float]:
        """Present values of the hyperparameters."""
        return dict(self._present)

    @property
    def sigma(self) -> dict[str, float]:
        """Standard deviations of their perturbations, unconstrained scale."""
        return dict(zip(self.hyper.names, self.hyper.sigma.tolist(), strict=True))

    def schedule(self, points: int | None = None) -> dict[str, Any]:
        """The course of the values so far as JSON, for `ScheduleReplay`; at most `points` of them."""
        course = self._recorder.trajectory(self.steps, self._drops)
        return (course if points is None else course.thinned(points)).definition()

    def export(self) -> nn.Module:
        """The plain network, a copy: the user's own class, with nothing of the tuner in it."""
        plain = self.converted.export(None if self.settings.centred else self.hyper.u)
        self._penalties.leave(plain)
        return plain

    def _size(self, batch: Any) -> int:
        tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, torch.Tensor) and leaf.ndim]
        if not tensors:
            raise OptionError("batch: holds no tensor whose examples could be counted.", "batch")
        first = tensors[0]
        return int(first.shape[self._batch_dim if first.ndim > self._batch_dim else 0])

    # -- saving --------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides model and optimizer, global random state included."""
        return {**self.own_state(), "random": RandomState.present(self.hyper.u.device).state_dict()}

    def own_state(self) -> dict[str, Any]:
        """The same without the random state."""
        state: dict[str, Any] = detached(
            {
                "responses": self.converted.state_dict(),
                "hyper": self.hyper.state_dict(),
                "response_optimizer": self.response_optimizer.state_dict(),
                "hyper_optimizer": self.hyper_optimizer.state_dict(),
                "validation": self._validation.state_dict(),
                "recorder": self._recorder.state_dict(),
                "linearise": self._linearise,
                "decay_scales": list(self._decay_scales),
                "steps": self.steps,
                "skipped": self._skipped,
            }
        )
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken; load model and optimizer before. Validation must repeat its order.

        Raises:
            OptionError: if the state belongs to other hyperparameters or another network.
        """
        self.hyper.load_state_dict(state["hyper"])
        self.converted.load_state_dict(state["responses"])
        # Copies: torch keeps the tensors that it is given and would train inside the state.
        self.response_optimizer.load_state_dict(detached(state["response_optimizer"]))
        self.hyper_optimizer.load_state_dict(detached(state["hyper_optimizer"]))
        if "validation" in state:
            self._validation.load_state_dict(state["validation"])
        self._recorder.load_state_dict(detached(state["recorder"]))
        # An optimizer loaded before the tuner was made may have shown the tuned decay, which may be 0 for all.
        self._decay_scales = list(state["decay_scales"])
        self._linearise, self.steps, self._skipped = state["linearise"], state["steps"], state["skipped"]
        self._present = self.hyper.present()
        self._show()
        if "random" in state:
            random = RandomState.present(self.hyper.u.device)
            random.load_state_dict(state["random"])
            random.apply()


@contextmanager
def _fixed(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Without gradients inside: passes that do not train them keep nothing for them."""
    trained = [p for p in parameters if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)


def _deaf() -> OptionError:
    return OptionError(
        "loss: nothing in it depends on the responses. It must call the `model` that it is given, and the network its "
        "layers: a weight that is used without its layer's call does not answer.",
        "loss",
    )


def _adaptive(optimizer: torch.optim.Optimizer) -> bool:
    """Whether steps are divided by the size of gradients."""
    return "betas" in optimizer.defaults or isinstance(optimizer, torch.optim.RMSprop)


def _like(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """An optimizer of the same kind and options over other parameters, without weight decay."""
    kind = type(optimizer)
    if (
        getattr(inspect.signature(kind.step).parameters.get("closure"), "default", None)
        is inspect.Parameter.empty
    ):
        raise OptionError(
            f"optimizer: {kind.__name__} computes the loss itself, again and again in a step, and a step of the "
            "responses has one gradient. Use one whose `step` needs no closure.",
            "optimizer",
        )
    known = inspect.signature(kind).parameters
    first = {
        key: value for key, value in optimizer.param_groups[0].items() if key in known and key != "params"
    }
    if "weight_decay" in first:
        first["weight_decay"] = 0.0
    try:
        return kind(parameters, **first)
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"optimizer: {kind.__name__} cannot be made again for the responses: {error}", "optimizer"
        ) from error


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
