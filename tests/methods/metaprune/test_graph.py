import copy
import itertools

import pytest
import torch
import torch_pruning
from methods.pruning.networks import network
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from autosearch.methods.metaprune import (
    DataModel,
    Graph,
    MetaNetwork,
    MetaTrainer,
    Sparse,
    meta_loss,
    state_of,
    trace,
)
from autosearch.methods.metaprune.metanetwork import _Layer, aggregate
from autosearch.methods.pruning import GroupSparsity, PruningError, prune

NAMES = ("mlp", "cnn", "resnet", "preact_resnet", "vgg", "mobilenet_v2", "transformer", "dense")


class Convolutions(nn.Module):
    """Biases, a grouped convolution, a classifier behind a flattening."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 9, 3, padding=1, groups=3)
        self.c = nn.Linear(9 * 16, 5)

    def forward(self, x):
        return self.c(torch.flatten(self.b(self.a(x).relu()).relu(), 1))


def small(name):
    return (Convolutions().eval(), torch.randn(2, 2, 4, 4)) if name == "convolutions" else network(name)


def chain(dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    model = (
        nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
        .to(dtype)
        .eval()
    )
    return model, torch.randn(6, 3, dtype=dtype)


def ce(model, batch):
    return functional.cross_entropy(model(batch[0]), batch[1])


def everything(schema, state):
    return schema.from_graph(schema.to_graph(state))


# -- the bijection -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("name", [*NAMES, "convolutions"])
def test_a_network_comes_back_from_its_graph_bitwise(name, pruned):
    model, inputs = small(name)
    if pruned:
        model = prune(model, inputs, target={"params": 0.5}).model
    schema = trace(model, inputs)
    back = everything(schema, state_of(model))
    assert set(back) == {key for key, _ in model.named_parameters()}
    assert all(torch.equal(back[key], value) for key, value in model.named_parameters())


@pytest.mark.parametrize("name", [*NAMES, "convolutions"])
def test_every_number_has_one_place_and_no_place_two_numbers(name):
    model, inputs = small(name)
    schema = trace(model, inputs)
    places = [
        (slot.kind, row, column)
        for slot in schema.slots
        for row, column in zip(slot.rows.tolist(), slot.column.tolist(), strict=True)
    ]
    assert len(places) == len(set(places))
    trainable = sum(slot.rows.numel() for slot in schema.slots if slot.trainable)
    assert trainable == sum(p.numel() for p in model.parameters())
    edges = sum(slot.rows.unique().numel() for slot in schema.slots if slot.kind != "node")
    assert edges + sum(len(rows) for rows, _ in schema.constants.values()) == schema.edges


def test_a_kernel_lies_on_the_edge_between_its_two_channels():
    model, inputs = small("convolutions")
    schema = trace(model, inputs)
    graph = schema.to_graph(state_of(model))
    (a, _), (b, _) = schema.blocks[1], schema.blocks[2]
    for k, weight, start, out, local, group in (
        (9, model.b.weight, b, 4, 1, 1),
        (9, model.a.weight, a, 2, 1, 0),
    ):
        source = (schema.blocks[1][0] if weight is model.b.weight else 0) + group * 2 + local
        ends = schema.ends[k]
        edge = int(((ends[0] == source) & (ends[1] == start + out)).nonzero())
        assert torch.equal(graph.e[k][edge], weight[out, local].flatten())
    assert torch.equal(graph.x[a : a + 6, 4], model.a.bias)


def test_the_classifier_with_different_sizes_is_not_transposed():
    model = nn.Sequential(nn.Linear(3, 7), nn.Linear(7, 4))
    schema = trace(model, torch.randn(2, 3))
    graph = schema.to_graph(state_of(model))
    source, target = schema.ends[1]
    for edge in range(schema.edges):
        s, d = int(source[edge]), int(target[edge])
        expected = model[0].weight[d - 3, s] if d < 10 else model[1].weight[d - 10, s - 3]
        assert graph.e[1][edge, 0] == expected


def test_identity_residuals_are_constant_edges_that_are_not_written_back():
    model, inputs = network("resnet")
    schema = trace(model, inputs)
    rows, values = schema.constants[1]
    graph = schema.to_graph(state_of(model))
    assert torch.equal(graph.e[1][rows], values)
    changed = Graph(graph.x, {**graph.e, 1: graph.e[1].index_fill(0, rows, 7.0)}, graph.ends)
    back = schema.from_graph(changed)
    assert all(torch.equal(back[key], value) for key, value in model.named_parameters())


def test_statistics_are_read_but_not_written_back():
    model, inputs = network("cnn")
    schema = trace(model, inputs)
    graph = schema.to_graph(state_of(model))
    first = schema.blocks[1][0]
    norm = model[1][0]
    expected = torch.stack([norm.weight, norm.bias, norm.running_mean, norm.running_var], dim=1)
    assert torch.equal(graph.x[first : first + 8, :4], expected)
    assert not any("running" in name for name in schema.from_graph(graph))


# -- the metanetwork -----------------------------------------------------------------------------------------


def made(schema, **options):
    torch.manual_seed(1)
    return MetaNetwork(schema.family, **{"layers": 2, "hidden": 6, "residual": 0.1, **options})


def test_without_a_residual_nothing_changes():
    for name in ("resnet", "transformer", "dense"):
        model, inputs = network(name)
        schema = trace(model, inputs)
        easier = made(schema, residual=0.0).easier(model, schema)
        assert torch.equal(easier(inputs), model(inputs))
        assert not torch.equal(made(schema).easier(model, schema)(inputs), model(inputs))


def test_a_renaming_of_hidden_channels_is_followed():
    model, inputs = small("convolutions")
    model = nn.Sequential(
        nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3)
    ).eval()
    order = torch.tensor([3, 0, 4, 1, 2])
    other = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (other[0].weight, other[0].bias, other[1].weight, other[1].bias):
            tensor.copy_(tensor[order])
        other[3].weight.copy_(other[3].weight[:, order])
    schema = trace(model, inputs)
    meta = made(schema)
    own, theirs = (schema.from_graph(meta(schema.to_graph(state_of(m)))) for m in (model, other))
    assert torch.allclose(own["0.weight"][order], theirs["0.weight"], atol=1e-6)
    assert torch.allclose(own["1.bias"][order], theirs["1.bias"], atol=1e-6)
    assert torch.allclose(own["3.weight"][:, order], theirs["3.weight"], atol=1e-6)
    assert torch.allclose(other(inputs), model(inputs), atol=1e-5)


def test_aggregation_equals_a_loop():
    messages, target = torch.randn(9, 3), torch.tensor([0, 0, 2, 2, 2, 4, 4, 4, 4])
    found = aggregate(messages, target, 6)
    for node in range(6):
        own = messages[target == node]
        if len(own) == 0:
            expected = torch.cat([torch.zeros(3), torch.full((3,), 1e-5**0.5), torch.zeros(6)])
        else:
            spread = ((own**2).mean(0) - own.mean(0) ** 2).clamp_min(1e-5).sqrt()
            expected = torch.cat([own.mean(0), spread, own.amax(0), own.amin(0)])
        assert torch.allclose(found[node], expected, atol=1e-6)


def test_reversed_edges_with_the_sign_give_the_mirrored_layer():
    torch.manual_seed(0)
    layer, h, a = _Layer(4), torch.randn(5, 4), torch.randn(7, 4)
    ends = torch.randint(0, 5, (2, 7))
    sign = torch.tensor([1.0, 1.0, -1.0, -1.0])
    n1, a1 = layer(h, a, ends, sign)
    n2, a2 = layer(h, sign * a, ends.flip(0), sign)
    assert torch.allclose(n1, n2, atol=1e-6)
    assert torch.allclose(a1, sign * a2, atol=1e-6)


def test_layers_computed_again_on_the_way_back_give_the_same_gradient(monkeypatch):
    model, inputs = chain()
    data = DataModel.of(model, inputs)
    gradients = []
    for limit in (2**24, 0):
        monkeypatch.setattr("autosearch.methods.metaprune.metanetwork._RECOMPUTE", limit)
        meta = made(data.schema)
        batch = (inputs, torch.tensor([0, 1, 0, 1, 0, 1]))
        sum(meta_loss(meta, data, [batch], Sparse(ce)).values()).backward()
        gradients.append([p.grad for p in meta.parameters() if p.grad is not None])
    assert all(torch.equal(x, y) for x, y in zip(*gradients, strict=True))


def test_a_metanetwork_survives_its_file(tmp_path):
    model, inputs = network("resnet")
    schema = trace(model, inputs)
    meta = made(schema)
    again = MetaNetwork.load(meta.save(tmp_path / "meta.pt"))
    assert torch.equal(again.easier(model, schema)(inputs), meta.easier(model, schema)(inputs))
    (tmp_path / "meta.pt").write_bytes(b"no")
    with pytest.raises(PruningError, match="no metanetwork can be read"):
        MetaNetwork.load(tmp_path / "meta.pt")


def test_a_network_of_another_family_is_refused():
    model, inputs = network("resnet")
    schema = trace(model, inputs)
    other, tokens = network("transformer")
    with pytest.raises(PruningError, match="was made for kernels"):
        made(schema).easier(other, trace(other, tokens))


# -- meta-training -------------------------------------------------------------------------------------------


def test_the_meta_gradient_equals_finite_differences():
    model, inputs = chain(torch.float64)
    data = DataModel.of(model, inputs)
    meta = made(data.schema).double()
    batch = (inputs, torch.tensor([0, 1, 0, 1, 0, 1]))

    def total():
        return meta_loss(meta, data, [batch], Sparse(ce, 0.0))["loss"]

    total().backward()
    parameters = [p for p in meta.parameters() if p.grad is not None]
    for parameter in parameters[::5]:
        flat = parameter.data.view(-1)
        for i in (0, len(flat) // 2):
            before = float(flat[i])
            values = []
            for change in (1e-6, -1e-6):
                flat[i] = before + change
                values.append(float(total().detach()))
            flat[i] = before
            assert float(parameter.grad.view(-1)[i]) == pytest.approx(
                (values[0] - values[1]) / 2e-6, abs=1e-7
            )


def test_the_sparsity_loss_gives_the_published_pseudo_gradient():
    model, inputs = network("cnn")
    data = DataModel.of(model, inputs)
    meta = made(data.schema)
    changed = data.schema.from_graph(meta(data.schema.to_graph(state_of(model))))
    theta = {name: value.detach().clone().requires_grad_() for name, value in changed.items()}

    class Penalty(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = model

        def forward(self):
            return GroupSparsity(10.0, 16.0)(self.network, data.groups)

    torch.func.functional_call(Penalty(), {f"network.{k}": v for k, v in theta.items()}, ()).backward()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            parameter.requires_grad_(True)
            parameter.copy_(theta[name])
            parameter.grad = torch.zeros_like(parameter)
    head = next(m for m in reversed(list(other.modules())) if isinstance(m, nn.Linear))
    pruner = torch_pruning.pruner.GroupNormPruner(
        other, inputs, importance=torch_pruning.importance.GroupMagnitudeImportance(normalizer="max"),
        pruning_ratio=0.5, reg=10.0, alpha=16.0, ignored_layers=[head],
    )  # fmt: skip
    pruner.update_regularizer()
    pruner.regularize(other, alpha=16.0, bias=False)
    for name, parameter in other.named_parameters():
        own = theta[name].grad
        assert torch.allclose(
            torch.zeros_like(parameter) if own is None else own, parameter.grad, atol=1e-5
        ), name


def test_meta_training_lowers_its_loss_and_goes_on_where_it_stopped():
    batch = (torch.randn(16, 3), torch.randint(0, 2, (16,)))
    models = [DataModel.of(*chain(seed=seed)) for seed in range(2)]

    def trainer():
        return MetaTrainer(made(models[0].schema), Sparse(ce, 0.01), lr=1e-2, milestone=6)

    whole = trainer()
    losses = [whole.train_epoch(models, [batch]) for _ in range(10)]
    totals = [sum(x.values()) for x in losses]
    assert totals[-1] < totals[0]
    first = trainer()
    for _ in range(5):
        first.train_epoch(models, [batch])
    second = trainer()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert [second.train_epoch(models, [batch]) for _ in range(5)] == losses[5:]
    assert all(
        torch.equal(x, y)
        for x, y in zip(whole.metanetwork.parameters(), second.metanetwork.parameters(), strict=True)
    )


def test_data_models_are_not_changed_by_meta_training():
    model, inputs = chain()
    model.train()
    data = DataModel.of(model, inputs)
    before = [p.clone() for p in model.parameters()]
    MetaTrainer(made(data.schema), Sparse(ce), lr=0.1).train_epoch(
        [data], [(inputs, torch.zeros(6, dtype=torch.long))]
    )
    assert all(torch.equal(x, y) for x, y in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(module.training for module in model.modules())


# -- faults --------------------------------------------------------------------------------------------------


class Deciding(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 3)

    def forward(self, x):
        return self.a(x) if x.sum() > 0 else x


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.b(self.a(self.a(x)))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.a(x))


class Free(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.scale = nn.Linear(3, 3), nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.a(x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Deciding(), "cannot be traced by torch.fx"),
        (Twice(), "a: is used twice"),
        (Tied(), r"b\.weight: shares its values with a\.weight"),
        (nn.Sequential(weight_norm(nn.Linear(3, 2))), "0: its weights are computed from others"),
        (Free(), "scale: no channels of the trace hold this parameter"),
        (nn.Sequential(nn.Linear(3, 4), nn.Bilinear(3, 4, 2)), "cannot be traced"),
    ],
)
def test_networks_without_a_graph_are_refused_by_name(model, message):
    model.train()
    with pytest.raises(PruningError, match=message):
        trace(model, torch.randn(2, 3))
    assert all(module.training for module in model.modules())


def test_a_state_of_another_network_is_refused():
    model, inputs = chain()
    schema = trace(model, inputs)
    state = dict(itertools.islice(state_of(model).items(), 3))
    with pytest.raises(PruningError, match="the graph was made for"):
        schema.to_graph(state)


class Chunked(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(x.chunk(2, 1)[::-1], 1)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.ReLU()), "no weights"),
        (nn.Sequential(nn.Conv2d(4, 4, 1), Chunked()), "cannot be followed"),
        (nn.Sequential(nn.Conv2d(4, 4, 1), nn.LayerNorm([4, 6, 6])), "has 144 numbers for"),
    ],
)
def test_networks_of_odd_shapes_are_refused_by_name(model: nn.Module, message: str) -> None:
    with pytest.raises(PruningError, match=message):
        trace(model, torch.randn(2, 4, 6, 6))
