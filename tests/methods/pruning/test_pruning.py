import pytest
import torch
import torch_pruning
from methods.pruning.networks import NAMES, half, network, traced
from torch import nn
from torch.nn import functional

import autosearch
from autosearch.core import plugins
from autosearch.core.errors import OptionError
from autosearch.methods.pruning import (
    GroupSparsity,
    PruneOptions,
    Pruner,
    PruningError,
    Slot,
    count_macs,
    count_params,
    find_groups,
    measure_latency,
    prune,
    recalibrate,
    shrink,
)
from autosearch.methods.pruning.attention import split_attention
from autosearch.methods.pruning.criteria import Context, build_criterion

pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable")


def loss(model, batch):
    return functional.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())


# -- costs ---------------------------------------------------------------------------------------------------


def test_macs_and_parameters_equal_closed_forms():
    chain = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 1), nn.Flatten(), nn.Linear(96, 5)
    )
    assert count_macs(chain, torch.randn(7, 3, 4, 4)) == 3 * 8 * 9 * 16 + 8 * 6 * 16 + 96 * 5
    assert count_params(chain) == (3 * 8 * 9 + 8) + (8 * 6 + 6) + (96 * 5 + 5)
    depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
    assert count_macs(depthwise, torch.randn(1, 8, 4, 4)) == 8 * 9 * 16
    linear = nn.Linear(4, 6)
    assert count_macs(linear, (torch.randn(2, 5, 4),)) == 5 * 4 * 6


def test_macs_of_attention_count_its_products():
    model, inputs = network("encoder")
    width, length = 16, 7
    block = 4 * length * width**2 + 2 * length**2 * width + 2 * length * width * 32
    assert count_macs(split_attention(model), inputs) == length * 5 * width + 2 * block + width * 3


@pytest.mark.parametrize("name", NAMES)
def test_the_target_is_met_in_counted_costs_within_one_unit(name):
    model, inputs = network(name)
    result = prune(model, inputs, target={"macs": 0.4, "params": 0.6})
    share = {metric: result.after[metric] / result.before[metric] for metric in ("macs", "params")}
    assert share["macs"] <= 0.4 + 1e-6
    assert share["params"] <= 0.6 + 1e-6
    assert share["macs"] > 0.1 or share["params"] > 0.25
    assert result.after["macs"] == count_macs(result.model, inputs)


def test_estimates_equal_counts():
    for name in NAMES:
        model, inputs, groups = traced(name)
        pruner = Pruner(model, inputs, PruneOptions())
        alive = [list(a) for a in half(groups)]
        shares = pruner._estimate.shares(alive)
        small = shrink(model, groups.kept(alive))
        assert shares["params"] * count_params(model) == pytest.approx(count_params(small), rel=0.01)
        assert shares["macs"] * count_macs(model, inputs) == pytest.approx(
            count_macs(small, inputs), rel=1e-6
        )


def test_latency_is_measured_and_can_be_a_target():
    model = nn.Sequential(
        nn.Linear(64, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 4)
    )
    inputs = torch.randn(64, 64)
    assert 0 < measure_latency(model, inputs, seconds=0.02) < 10
    result = prune(model, inputs, target={"latency": 0.6})
    assert result.after["params"] < 0.8 * result.before["params"]
    assert result.after["latency"] < result.before["latency"]


def test_several_targets_global_and_layer_scopes_and_rounding():
    model, inputs = network("cnn")
    layer = prune(model, inputs, target={"params": 0.5}, scope="layer").kept
    outs = {slot.module: len(kept) for slot, kept in layer.items() if slot.axis == "out"}
    widths = {
        slot.module: model.get_submodule(slot.module).out_channels for slot in layer if slot.axis == "out"
    }
    shares = [outs[name] / widths[name] for name in outs]
    assert max(shares) - min(shares) < 0.13  # one channel of eight
    even = prune(model, inputs, target={"params": 0.5}, round_to=4).kept
    assert all(len(kept) % 4 == 0 for slot, kept in even.items() if slot.axis == "out")
    few = prune(model, inputs, target={"params": 0.05}, min_units=2).kept
    assert min(len(kept) for kept in few.values()) >= 2


def test_ratios_decide_for_the_groups_that_they_name():
    model, inputs = network("cnn")
    result = prune(model, inputs, target={}, ratios={"0": 0.5}, steps=3)
    assert {str(slot): len(kept) for slot, kept in result.kept.items()} == {
        "0:out": 4,
        "1.0:channels": 4,
        "3:in": 4,
    }


# -- criteria ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("criterion", plugins.registered("criteria"))
def test_every_criterion_prunes_every_kind_of_network(criterion):
    for name in ("cnn", "resnet", "mobilenet_v2", "dense"):
        model, inputs = network(name)
        targets = torch.zeros(2, dtype=torch.long)
        result = prune(
            model, inputs, criterion=criterion, target={"macs": 0.6}, batches=[(inputs, targets)], loss=loss
        )
        assert result.after["macs"] <= 0.6 * result.before["macs"] * (1 + 1e-9)


def test_channels_that_do_nothing_go_first():
    for criterion in ("magnitude", "taylor", {"method": "magnitude", "p": 1}, "bn_scale"):
        model, inputs = network("cnn")
        with torch.no_grad():
            for conv, norm in ((model[0], model[1][0]), (model[3], model[4][0])):
                conv.weight[::2] = 0
                norm.weight[::2] = 0
                norm.bias[::2] = 0
            model[3].weight[:, ::2] = 0
            model[6].weight[:, ::2] = 0
        batch = (inputs, torch.tensor([0, 1]))
        result = prune(
            model,
            inputs,
            criterion=criterion,
            target={},
            ratios={"0": 0.5, "3": 0.5},
            batches=[batch],
            loss=loss,
        )
        assert result.kept[Slot("0", "out")] == [1, 3, 5, 7]
        assert result.kept[Slot("3", "out")] == list(range(1, 16, 2))


def test_group_magnitude_equals_torch_pruning():
    model, inputs, groups = traced("resnet")
    own = build_criterion("magnitude").scores(model, groups, Context())
    graph = torch_pruning.DependencyGraph().build_dependency(model, inputs)
    theirs = torch_pruning.importance.GroupMagnitudeImportance(
        p=2, group_reduction="mean", normalizer="max", bias=False
    )
    names = {module: name for name, module in model.named_modules()}
    expected = {names[g[0].dep.target.module]: theirs(g) for g in graph.get_all_groups()}
    for group, scores in zip(groups.groups, own, strict=True):
        assert torch.allclose(scores, expected[group.name].detach(), atol=1e-6)


def test_the_gradient_of_the_sparsity_penalty_equals_torch_prunings():
    model, inputs, groups = traced("resnet")
    strength, alpha = 0.3, 16.0
    GroupSparsity(strength, alpha)(model, groups).backward()
    own = {name: p.grad.clone() if p.grad is not None else None for name, p in model.named_parameters()}
    model.zero_grad()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    head = next(m for m in reversed(list(model.modules())) if isinstance(m, nn.Linear))
    pruner = torch_pruning.pruner.GroupNormPruner(
        model, inputs, importance=torch_pruning.importance.GroupMagnitudeImportance(normalizer="max"),
        pruning_ratio=0.5, reg=strength, alpha=alpha, ignored_layers=[head],
    )  # fmt: skip
    pruner.update_regularizer()
    pruner.regularize(model, alpha=alpha, bias=False)
    for name, parameter in model.named_parameters():
        expected = parameter.grad
        found = torch.zeros_like(expected) if own[name] is None else own[name]
        assert torch.allclose(found, expected, atol=1e-5), name


def test_pulls_lie_between_one_and_alpha_and_equal_units_are_not_pulled_apart():
    sparsity = GroupSparsity(1.0, 16.0)
    pulls = sparsity.gamma(torch.tensor([4.0, 1.0, 0.0]))
    assert pulls.tolist() == pytest.approx([1.0, 4.0, 16.0])
    assert sparsity.gamma(torch.ones(3)).tolist() == [1.0] * 3
    assert sparsity.gamma(torch.zeros(3)).tolist() == [1.0] * 3
    assert sparsity.gamma(torch.ones(1)).tolist() == [1.0]


def test_equal_importance_everywhere_is_no_fault():
    model, inputs = network("cnn")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    result = prune(model, inputs, criterion="magnitude")
    assert result.after["macs"] < result.before["macs"]


def test_random_scores_depend_on_the_seed_alone():
    model, inputs = network("cnn")
    kept = [prune(model, inputs, criterion="random", seed=seed).kept for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]


def test_taylor_equals_its_formula():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1])
    groups = find_groups(model, x)
    found = build_criterion("taylor").scores(model, groups, Context([(x, y)], loss))[0]
    loss(model, (x, y)).backward()
    rows = (model[0].weight * model[0].weight.grad).sum(1)
    columns = (model[1].weight * model[1].weight.grad).sum(0)
    expected = (rows**2 + columns**2).detach()
    assert torch.allclose(found, expected / expected.max(), atol=1e-6)


def test_a_users_own_criterion_is_an_object_with_scores():
    class Last:
        def scores(self, model, groups, context):
            return [torch.arange(len(g), dtype=torch.float) for g in groups.groups]

    model, inputs = network("cnn")
    kept = prune(model, inputs, criterion=Last(), target={}, ratios={"0": 0.25}).kept
    assert kept[Slot("0", "out")] == [2, 3, 4, 5, 6, 7]


def test_a_floor_keeps_a_global_ranking_from_closing_a_layer():
    model, inputs = network("resnet")

    class FirstGroup:
        def scores(self, model, groups, context):
            return [torch.arange(len(g)) + (0.0 if i == 0 else 100.0) for i, g in enumerate(groups.groups)]

    def least(**options):
        result = prune(model, inputs, criterion=FirstGroup(), target={"macs": 0.2}, **options)
        assert result.after["macs"] <= 0.2 * result.before["macs"] * (1 + 1e-9)
        return min(len(kept) for slot, kept in result.kept.items() if slot.axis == "out")

    assert least(floor=0.0) == 1
    assert least(floor=0.5) >= 2
    even = prune(model, inputs, target={"macs": 0.2}, scope="layer").kept
    for slot, kept in prune(model, inputs, criterion=FirstGroup(), target={"macs": 0.2}).kept.items():
        assert len(kept) >= len(even.get(slot, kept)) / 2 - 1


def test_a_floor_gives_way_where_the_same_share_everywhere_reaches_nothing():
    model, inputs = network("cnn")
    result = prune(model, inputs, target={"macs": 0.35}, ratios={"0": 0.0}, floor=1.0)
    assert result.after["macs"] <= 0.35 * result.before["macs"] * (1 + 1e-9)


def test_units_that_still_fit_return():
    model, inputs = network("resnet")
    result = prune(model, inputs, target={"macs": 0.25})
    assert 0.24 * result.before["macs"] < result.after["macs"] <= 0.25 * result.before["macs"] * (1 + 1e-9)


def test_a_criterion_in_a_file_of_its_own_is_named_by_its_place(tmp_path, monkeypatch):
    (tmp_path / "mine_for_pruning.py").write_text(
        "import torch\n"
        "class Last:\n"
        "    def __init__(self, sign: int = 1):\n"
        "        self.sign = sign\n"
        "    def scores(self, model, groups, context):\n"
        "        return [self.sign * torch.arange(len(g), dtype=torch.float) for g in groups.groups]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model, inputs = network("cnn")
    for sign, left in ((1, [2, 3, 4, 5, 6, 7]), (-1, [0, 1, 2, 3, 4, 5])):
        criterion = {"method": "mine_for_pruning:Last", "sign": sign}
        assert (
            prune(model, inputs, criterion=criterion, target={}, ratios={"0": 0.25}).kept[Slot("0", "out")]
            == left
        )
    with pytest.raises(OptionError, match="Lost"):
        prune(model, inputs, criterion="mine_for_pruning:Lost")


# -- training around it --------------------------------------------------------------------------------------


def test_statistics_are_measured_anew_as_plain_averages():
    model, _ = network("cnn")
    batches = [(torch.randn(16, 1, 8, 8), None) for _ in range(3)]
    recalibrate(model, batches)
    expected = torch.stack([model[0](x).mean((0, 2, 3)) for x, _ in batches]).mean(0)
    assert torch.allclose(model[1][0].running_mean, expected, atol=1e-5)
    assert not model.training
    assert model[1][0].momentum == 0.1


def test_fine_tuning_happens_after_each_round_on_the_smaller_network():
    model, inputs = network("cnn")
    seen = []
    prune(
        model,
        inputs,
        target={"macs": 0.25},
        steps=2,
        fine_tune=lambda net, i: seen.append((i, count_params(net))),
    )
    assert [i for i, _ in seen] == [0, 1]
    assert seen[0][1] > seen[1][1]


# -- faults --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"target": {"macs": 1e-4}},
            PruningError,
            r"the target cannot be reached.*6 \(1\), 3 \(1\), 0 \(1\)",
        ),
        ({"target": {"macs": 2}}, OptionError, r"target\.macs"),
        ({"target": {"speed": 0.5}}, OptionError, r"target\.speed"),
        ({"target": 0.4}, OptionError, r"target: shares by metric, such as \{'macs': 0\.5\}, got 0\.4"),
        ({"target": {"macs": "half"}}, OptionError, r"target\.macs.*got 'half'"),
        ({"criterion": "magnitud"}, OptionError, "Did you mean 'magnitude'"),
        ({"criterion": {"method": "magnitude", "q": 1}}, OptionError, "q"),
        ({"criterion": "taylor"}, PruningError, "needs data"),
        ({"ratios": {"nothing*": 0.5}}, PruningError, "no group of that name"),
        ({"ratios": {"*": 1.0}}, PruningError, r"in \[0, 1\)"),
        ({"ignore": ["nowhere"]}, PruningError, "no module 'nowhere'"),
        ({"scope": "local"}, OptionError, "global or layer"),
        ({"steps": 0}, OptionError, "steps"),
    ],
)
def test_impossible_requests_are_one_clear_error(options, error, message):
    model, inputs = network("cnn")
    with pytest.raises(error, match=message):
        prune(model, inputs, **options)


def test_a_criterion_that_gives_nan_is_named_with_the_group():
    class Nan:
        def scores(self, model, groups, context):
            return [torch.full((len(g),), torch.nan) for g in groups.groups]

    model, inputs = network("cnn")
    with pytest.raises(PruningError, match="no finite number"):
        prune(model, inputs, criterion=Nan())


def test_prune_hangs_from_the_package():
    assert autosearch.prune is prune
