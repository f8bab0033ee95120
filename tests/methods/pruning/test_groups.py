import json

import pytest
import torch
from methods.pruning.networks import NAMES, half, network, traced
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from autosearch.methods.pruning import (
    PruningError,
    Slot,
    count_params,
    find_groups,
    load_pruned,
    masked,
    prune,
    shrink,
)
from autosearch.methods.pruning.attention import split_attention
from autosearch.methods.pruning.shrink import from_json, to_json

pytestmark = pytest.mark.filterwarnings("ignore:The given buffer is not writable")


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


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.enter, self.r = nn.Linear(4, 6), nn.LSTM(6, 5, num_layers=2, bidirectional=True)
        self.h, self.leave = nn.Linear(10, 16), nn.Linear(16, 3)

    def forward(self, x):
        y, (h, c) = self.r(self.enter(x))
        return self.leave(self.h(y[-1] + torch.cat([h[-1], c[0]], -1)).relu())


def test_recurrent_layers_stay_whole_with_what_is_tied_to_them():
    model, x = Recurrent(), torch.randn(7, 2, 4)
    with pytest.raises(PruningError, match="r: LSTM cannot be pruned"):
        find_groups(model, x)
    small = prune(model, x, target={}, ratios={"h": 0.5}, ignore=["r"]).model
    assert [small.enter.out_features, small.h.in_features, small.h.out_features] == [6, 10, 8]
    assert [group.name for group in find_groups(model, x, ignore=["r"]).groups] == ["h"]
    assert small(x).shape == (2, 3)


def test_weights_computed_from_others_or_not_made_yet_are_refused_by_name():
    x = torch.randn(2, 4)
    for layer, message in (
        (weight_norm(nn.Linear(4, 8)), "0: its weights are computed"),
        (nn.LazyLinear(8), "0: LazyLinear has no weights yet"),
    ):
        with pytest.raises(PruningError, match=message):
            prune(nn.Sequential(layer, nn.ReLU(), nn.Linear(8, 2)), x)


def test_attention_is_taken_apart_before_its_groups_are_found():
    model, inputs = network("encoder")
    with pytest.raises(PruningError, match=r"self_attn: nn\.MultiheadAttention"):
        find_groups(model, inputs)
