"""Networks and inputs that pruning must refuse with the reason, and what it must leave alone."""

import pytest
import torch
from torch import nn

import autosearch
from autosearch.core import OptionError
from autosearch.methods.pruning import PruningError


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    ).to(dtype)  # fmt: skip


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 12, batch_first=True)
        self.hidden, self.head = nn.Linear(12, 64), nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.hidden(self.lstm(input=x, hx=None)[0][:, -1]).relu())


class Attentive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


class Queried(Attentive):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        return self.head(self.attention(query=x, key=x, value=x)[0].mean(1))


IMAGE = torch.ones(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.ones(1, 4, 8, 8), "expected input.* to have 3 channels, but got 4"),
        ((IMAGE, IMAGE), "TypeError: .*takes 2 positional arguments but 3 were given"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_with_the_networks_own_words(inputs: object, message: str) -> None:
    with pytest.raises(PruningError, match=message):
        autosearch.prune(network(), inputs)


@pytest.mark.filterwarnings("ignore")  # torch's own, of tracing
def test_a_compiled_script_is_refused() -> None:
    with pytest.raises(PruningError, match="Give the one it was compiled from"):
        autosearch.prune(torch.jit.trace(network().eval(), IMAGE), IMAGE)


@pytest.mark.parametrize("criterion", ["magnitude", "depgraph"])
def test_weights_that_are_no_numbers_are_refused_and_not_taken_for_equal_ones(criterion: str) -> None:
    broken = network()
    with torch.no_grad():
        broken[0].weight[0] = float("nan")
    with pytest.raises(PruningError, match="0: the criterion gave a score that is no finite number"):
        autosearch.prune(broken, IMAGE, criterion=criterion)


class Scored:
    def __init__(self, *shapes: int) -> None:
        self.shapes = shapes

    def scores(self, model: nn.Module, groups: object, context: object) -> list[torch.Tensor]:
        return [torch.ones(n) for n in self.shapes]


@pytest.mark.parametrize("shapes", [(8,), (8, 7), ()])
def test_scores_that_do_not_fit_the_groups_are_refused(shapes: tuple[int, ...]) -> None:
    autosearch.prune(network(), IMAGE, criterion=Scored(8, 8))
    with pytest.raises(PruningError, match="one score for each unit of each group"):
        autosearch.prune(network(), IMAGE, criterion=Scored(*shapes))


@pytest.mark.parametrize(
    ("criterion", "message"), [({"p": 2}, "names no `method`"), (object(), "object with `scores`")]
)
def test_what_is_no_criterion_is_refused(criterion: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        autosearch.prune(network(), IMAGE, criterion=criterion)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_recurrent_layer_of_any_type_stays_whole(dtype: torch.dtype) -> None:
    small = autosearch.prune(
        Recurrent().to(dtype), torch.ones(2, 5, 8, dtype=dtype), ignore=["lstm"], target={"macs": 0.9}
    )
    assert small.model.lstm.hidden_size == 12
    assert small.model.hidden.out_features < 64


@pytest.mark.parametrize(
    ("model", "inputs", "options"),
    [
        (network(), IMAGE, {}),
        (Attentive(), torch.ones(2, 5, 8), {}),
        (Queried(), torch.ones(2, 5, 8), {}),
        (Recurrent(), torch.ones(2, 5, 8), {"ignore": ["lstm"]}),
    ],
)
def test_the_callers_random_state_is_left_alone(
    model: nn.Module, inputs: torch.Tensor, options: dict
) -> None:
    before = torch.get_rng_state()
    autosearch.prune(model, inputs, target={"macs": 0.9}, **options)
    assert torch.equal(torch.get_rng_state(), before)
