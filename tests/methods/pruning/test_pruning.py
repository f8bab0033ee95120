import json

import pytest
import torch
import torch_pruning
from methods.pruning.networks import NAMES, network
from torch import nn
from torch.nn import functional

import autosearch
from autosearch.core.errors import OptionError
from autosearch.methods.pruning import (
    CRITERIA,
    GroupSparsity,
    PruneOptions,
    Pruner,
    PruningError,
    Slot,
    count_macs,
    count_params,
    find_groups,
    load_pruned,
    masked,
    measure_latency,
    prune,
    recalibrate,
    shrink,
)
from autosearch.methods.pruning.attention import split_attention
from autosearch.methods.pruning.criteria import Context, build_criterion
from autosearch.methods.pruning.shrink import from_json, to_json

pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable")


def traced(name):
    model, inputs = network(name)
    model = split_attention(model)
    return model, inputs, find_groups(model, inputs)


def half(groups):
    """Every second unit of each group."""
    return [range(0, len(group), 2) for group in groups.groups]


def loss(model, batch):
    return functional.cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())


# -- groups and shrinking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("transformer", "encoder")])
def test_a_shrunken_network_computes_what_the_masked_one_does(name):
    model, inputs, groups = traced(name)
    kept = groups.kept(half(groups))
    small = shrink(model, kept)
    assert count_params(small) < 0.5 * count_params(model)
    assert torch.allclose(small(inputs), masked(model, kept)(inputs), atol=1e-5)


@pytest.mark.parametrize("name", ["transformer", "encoder"])
def test_heads_and_hidden_units_of_a_transformer_can_be_silenced_instead(name):
    # The residual stream passes through layer norms, which mix channels: only what lies inside blocks is compared.
    model, inputs, groups = traced(name)
    inner = [i for i, group in enumerate(groups.groups) if group.kind == "heads" or len(group.members) == 2]
    alive = [range(1, len(g)) if i in inner else range(len(g)) for i, g in enumerate(groups.groups)]
    assert {groups.groups[i].kind for i in inner} == {"heads", "channels"}
    small, quiet = shrink(model, groups.kept(alive)), masked(model, groups.kept(alive))
    for block in quiet.modules():  # gelu and relu of 0 are 0, so silent hidden units add nothing
        assert not block.training
    assert torch.allclose(small(inputs), quiet(inputs), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_original_network_is_not_touched(name):
    model, inputs = network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    prune(model, inputs, target={"macs": 0.5})
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_removing_a_channel_of_a_residual_stream_removes_exactly_its_slots():
    model, _, groups = traced("resnet")
    stream = next(group for group in groups.groups if len(group.members) > 3)
    alive = [range(1, len(g)) if g is stream else range(len(g)) for g in groups.groups]
    small = shrink(model, groups.kept(alive))
    touched = {member.slot.module for member in stream.members}
    for name, module in model.named_modules():
        own = [tuple(p.shape) for p in module.parameters(recurse=False)]
        other = [tuple(p.shape) for p in small.get_submodule(name).parameters(recurse=False)]
        assert (own != other) == (name in touched)


def test_groups_survive_the_removal_of_units():
    model, inputs, groups = traced("mobilenet_v2")
    first = half(groups)
    small, left = shrink(model, groups.kept(first)), groups.narrowed(first)
    second = half(left)
    again = shrink(small, left.kept(second))
    ids = [[group.ids[u] for u in alive] for group, alive in zip(left.groups, second, strict=True)]
    assert torch.equal(again(inputs), shrink(model, groups.kept(ids))(inputs))
    fresh = {frozenset(m.slot for m in g.members): len(g) for g in find_groups(small, inputs).groups}
    assert fresh == {frozenset(m.slot for m in g.members): len(g) for g in left.groups if len(g) > 1}


def test_channels_of_a_grouped_convolution_go_one_from_each_group():
    _, _, groups = traced("grouped")
    units = {m.slot: m.units for g in groups.groups for m in g.members}
    assert units[Slot("c1", "out")] == ((0, 3, 6, 9), (1, 4, 7, 10), (2, 5, 8, 11))
    assert units[Slot("c1", "in")] == ((0, 2, 4, 6), (1, 3, 5, 7))


def test_outputs_of_the_network_are_in_no_group():
    for name in NAMES:
        model, inputs, groups = traced(name)
        alive = half(groups)
        assert shrink(model, groups.kept(alive))(inputs).shape == model(inputs).shape


def test_kept_channels_survive_json_and_build_the_same_network(tmp_path):
    model, inputs = network("resnet")
    result = prune(model, inputs, target={"macs": 0.4}, steps=2)
    result.save(tmp_path)
    text = (tmp_path / "pruned.json").read_text()
    assert from_json(json.loads(text)["kept"]) == result.kept
    assert from_json(to_json(result.kept)) == result.kept
    fresh, _ = network("resnet", seed=1)
    assert torch.equal(load_pruned(fresh, tmp_path).eval()(inputs), result.model(inputs))


def test_attention_taken_apart_survives_the_file(tmp_path):
    model, inputs = network("encoder")
    result = prune(model, inputs, target={"macs": 0.5})
    result.save(tmp_path)
    again = load_pruned(network("encoder", seed=1)[0], tmp_path).eval()
    assert torch.equal(again(inputs), result.model(inputs))


@pytest.mark.parametrize(
    "damage", ["{", '{"format": 7}', '{"format": 1, "split_attention": false, "kept": {"a": [1]}}']
)
def test_a_damaged_file_is_one_clear_error(tmp_path, damage):
    model, inputs = network("mlp")
    prune(model, inputs).save(tmp_path)
    (tmp_path / "pruned.json").write_text(damage)
    with pytest.raises(PruningError):
        load_pruned(network("mlp")[0], tmp_path)


@pytest.mark.parametrize(
    "kept", [{"1:out": [0, 0]}, {"1:out": []}, {"1": [0]}, {"1:out": ["0"]}, {"1:out": [-1]}, []]
)
def test_impossible_descriptions_of_kept_channels_are_refused(kept):
    with pytest.raises(PruningError):
        from_json(kept)


@pytest.mark.parametrize("name", NAMES)
def test_a_pruned_network_can_be_exported(name):
    model, inputs = network(name)
    small = prune(model, inputs, target={"macs": 0.5}).model
    program = torch.export.export(small, (inputs,))
    assert torch.allclose(program.module()(inputs), small(inputs), atol=1e-5)


# -- attention -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kind", ["none", "causal", "padding"])
def test_attention_taken_apart_computes_the_same(batch_first, kind):
    torch.manual_seed(0)
    whole = nn.MultiheadAttention(8, 2, batch_first=batch_first, kdim=8, vdim=8).eval()
    parts = split_attention(nn.Sequential(whole))[0]
    x = torch.randn(3, 5, 8) if batch_first else torch.randn(5, 3, 8)
    options = {}
    if kind == "causal":
        options["attn_mask"] = torch.ones(5, 5).triu(1).bool()
    if kind == "padding":
        options["key_padding_mask"] = torch.tensor(
            [[False] * 5, [False] * 4 + [True], [False] * 2 + [True] * 3]
        )
    expected = whole(x, x, x, need_weights=False, **options)[0]
    assert torch.allclose(parts(x, x, x, **options)[0], expected, atol=1e-6)


def test_whole_heads_are_removed():
    model, inputs = network("transformer")
    small = prune(model, inputs, target={}, ratios={"blocks.0.attention": 0.5}).model
    block = small.blocks[0].attention
    assert (block.heads, block.qkv.out_features, block.projection.in_features) == (2, 3 * 8, 8)
    assert small.blocks[1].attention.heads == 4


def test_an_unusual_attention_block_is_described_by_hand():
    class Mixer(nn.Module):
        def __init__(self):
            super().__init__()
            self.n_head = 2
            self.ask, self.look, self.take, self.back = (nn.Linear(8, 8) for _ in range(4))

        def forward(self, x):
            q, k, v = (
                f(x).unflatten(-1, (self.n_head, -1)).transpose(1, 2)
                for f in (self.ask, self.look, self.take)
            )
            return self.back(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    model = nn.Sequential(nn.Linear(3, 8), Mixer(), nn.Linear(8, 2))
    layout = {"inputs": ["ask", "look", "take"], "output": "back"}
    small = prune(model, torch.randn(2, 4, 3), target={}, ratios={"1": 0.5}, attention={"1": layout}).model
    assert small[1].n_head == 1
    assert small(torch.randn(2, 4, 3)).shape == (2, 4, 2)
    with pytest.raises(PruningError, match=r"attention\.1"):
        prune(model, torch.randn(2, 4, 3), attention={"1": {"inputs": ["ask"], "output": "nothing"}})


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


@pytest.mark.parametrize("criterion", sorted(CRITERIA))
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
    products = (model[0].weight * model[0].weight.grad).sum(1) + (model[1].weight * model[1].weight.grad).sum(
        0
    )
    assert torch.allclose(found, products.detach() ** 2, atol=1e-10)


def test_a_users_own_criterion_is_an_object_with_scores():
    class Last:
        def scores(self, model, groups, context):
            return [torch.arange(len(g), dtype=torch.float) for g in groups.groups]

    model, inputs = network("cnn")
    kept = prune(model, inputs, criterion=Last(), target={}, ratios={"0": 0.25}).kept
    assert kept[Slot("0", "out")] == [2, 3, 4, 5, 6, 7]


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


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.c(self.b(self.b(self.a(x)).relu()))


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 9, bias=False)
        self.c.weight = self.a.weight

    def forward(self, x):
        return self.c(self.b(self.a(x.abs().long().clamp(0, 8))).relu())


class Written(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.c = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.c(self.a(x).view(-1, 2, 4).flatten(1))


class Broken(Twice):
    def forward(self, x):
        raise RuntimeError("no such luck")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Twice(), "b: is used 2 times"),
        (Tied(), r"c\.weight: shares its values with a\.weight"),
        (Written(), "a: the network does not run without one of its channels"),
        (Broken(), "cannot be traced on the example inputs: RuntimeError: no such luck"),
        (nn.Sequential(nn.Linear(4, 2)), "no channels of the network can be removed"),
        (nn.Sequential(nn.Linear(4, 1), nn.Linear(1, 2)), "no channels of the network can be removed"),
    ],
)
def test_networks_that_cannot_be_pruned_are_refused_by_name(model, message):
    with pytest.raises(PruningError, match=message):
        prune(model, torch.randn(2, 4))


def test_a_batch_of_one_is_traced_as_a_batch():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(128, 2)
    )
    one, two = (find_groups(model.eval(), torch.randn(n, 1, 8, 8)) for n in (1, 2))
    assert one == two


def test_ignored_modules_stay_whole():
    groups = find_groups(Twice(), torch.randn(2, 4), ignore=["b"])
    assert not any(member.slot == Slot("b", "out") for group in groups.groups for member in group.members)
    model, inputs = network("resnet")
    names = {group.name for group in find_groups(model, inputs).groups}
    left = {group.name for group in find_groups(model, inputs, ignore=["2.conv1"]).groups}
    assert names - left == {"2.conv1"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": {"macs": 1e-4}}, PruningError, "the target cannot be reached"),
        ({"target": {"macs": 2}}, OptionError, r"target\.macs"),
        ({"target": {"speed": 0.5}}, OptionError, r"target\.speed"),
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
