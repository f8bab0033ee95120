"""`score` on networks of sequences, of other number types, and on what is no tensor."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from autosearch.core import OptionError
from autosearch.methods.robot.metrics import METRICS, score
from tests.methods.robot.metrics.networks import batch, modules

ALL = [name for name in METRICS if name != "regularised_swap"]


class Encoder(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=dropout)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x).mean(1))


class Recurrent(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 6, 2, dropout=dropout, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0][:, -1])


class Written(nn.Module):
    """Attention as people write it out."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout, self.qkv, self.head = dropout, nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        found = functional.scaled_dot_product_attention(
            q, k, v, None, self.dropout if self.training else 0.0, True
        )
        return self.head(found.mean(1))


@pytest.mark.parametrize("make", [Encoder, Recurrent, Written])
def test_dropout_inside_of_one_operator_is_silent_too(make: type[nn.Module]) -> None:
    data = batch(8, 3, 5, 8)
    scores = []
    for dropout in (0.0, 0.5):
        torch.manual_seed(0)
        scores.append(score(make(dropout), *data, metrics=ALL))
    assert {**scores[0]} == pytest.approx({**scores[1]}, nan_ok=True)


@pytest.mark.parametrize("make", [Encoder, Written])
def test_attention_can_be_differentiated_twice(make: type[nn.Module]) -> None:
    assert "grasp" not in score(make(0.0), *batch(8, 3, 5, 8), metrics=ALL).reasons


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_type_has_every_metric(dtype: torch.dtype) -> None:
    x, y = batch()
    assert not score(modules().to(dtype), x.to(dtype), y.int(), metrics=ALL).reasons


@pytest.mark.parametrize(
    ("model", "inputs", "targets", "message"),
    [
        (nn.Linear(8, 3), {"x": torch.ones(2, 8)}, None, "inputs: one tensor, got dict"),
        (nn.Linear(8, 3), torch.ones(2, 8), [0, 1], "targets: one tensor, got list"),
        (nn.LazyLinear(3), torch.ones(2, 8), None, "run a batch through it first"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    model: nn.Module, inputs: object, targets: object, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        score(model, inputs, targets)


@pytest.mark.filterwarnings("ignore")  # torch's own, of tracing and of copies
def test_a_traced_network_has_reasons_where_it_cannot_be_looked_into() -> None:
    x, y = batch()
    scores = score(torch.jit.trace(modules().eval(), x), x, y, metrics=ALL)
    assert "blocks cannot be looked into" in scores.reasons["az_expressivity"]
    assert scores["params"] > 0
