"""Whatever happens in between: going back to a snapshot repeats what followed it."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from autosearch.learning import BatchStream, StepOptions, TorchLearner, build_lr_schedule, build_optimizer

ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("advance"), st.integers(1, 4)),
        st.tuples(st.just("lr"), st.floats(1e-4, 0.5)),
        st.tuples(st.just("weight_decay"), st.floats(0, 0.1)),
        st.tuples(st.just("momentum"), st.floats(0, 0.99)),
        st.tuples(st.just("evaluate"), st.just(0)),
    ),
    max_size=8,
)


def make(optimizer: str, ema: float) -> TorchLearner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    x = torch.randn(20, 3)
    return TorchLearner(
        model,
        BatchStream(20, 6, lambda i, g: (x[i] + torch.randn(len(i), 3, generator=g),), seed=1),
        lambda net, batch: net(batch[0]).square().mean(),
        build_optimizer(model, optimizer, lr=0.05, weight_decay=0.01),
        evaluation=lambda net: {"val_loss": float(net(x).square().mean())},
        lr_schedule=build_lr_schedule("cosine", 60, warmup=0.2),
        options=StepOptions(ema=ema),
    )


def act(learner: TorchLearner, actions: list) -> list:
    seen = []
    for name, value in actions:
        if name == "advance":
            seen.append(learner.advance(value))
        elif name == "evaluate":
            seen.append(learner.evaluate())
        else:
            learner.adjust({name: value})
    return [*seen, learner.evaluate(), learner.values.copy(), learner.batches.state_dict()]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["sgd", "adamw"]), st.sampled_from([0.0, 0.9]), ACTIONS, ACTIONS, ACTIONS)
def test_what_follows_a_snapshot_is_repeated_after_any_detour(optimizer, ema, before, after, detour):
    learner = make(optimizer, ema)
    act(learner, before)
    snapshot = learner.snapshot()
    expected = act(learner, after)
    act(learner, detour)
    learner.restore(snapshot)
    assert act(learner, after) == expected
    fresh = make(optimizer, ema)
    fresh.restore(snapshot)
    assert act(fresh, after) == expected
