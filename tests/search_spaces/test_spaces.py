"""What holds for every architecture space that ships, and what is particular to some."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import fx

from autosearch.core import OptionError, plugins
from autosearch.core.opening import resolve_space
from autosearch.space import SearchSpace, SpaceError, nest
from search_spaces import darts, elastic, transnas
from search_spaces.counting import multiply_adds, parameter_count, size_of
from search_spaces.networks.darts import DartsNetwork
from search_spaces.networks.elastic import ElasticMobileNet
from search_spaces.networks.transnas import TransNasMicroNetwork

SPACES = ("nasbench201", "darts", "transnas_micro", "transnas_macro", "elastic_mobilenet", "elastic_resnet")
SMALL: dict[str, dict[str, int]] = {
    "nasbench201": {"width": 4, "depth": 1},
    "darts": {"width": 4, "depth": 3},
    "transnas_micro": {"width": 4, "depth": 2},
    "transnas_macro": {"width": 4, "depth": 1},
    "elastic_mobilenet": {"width": 8},
    "elastic_resnet": {},
}
DARTS_V2 = {
    "normal": [
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2),
    ],
    "reduce": [
        ("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1),
        ("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1),
    ],
}  # fmt: skip


def space_of(name: str, **options: Any) -> SearchSpace:
    return resolve_space({"architecture": {"use": name, **options}})


def drawn(name: str, n: int = 4, **options: Any) -> list[dict[str, Any]]:
    """Architectures as a network gets them."""
    configs = space_of(name, **options).sample(np.random.default_rng(3), n)
    return [nest(config)["architecture"] for config in configs]


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 7, 7)])
def test_every_architecture_builds_a_network_of_any_image_size(name: str, shape: tuple[int, ...]) -> None:
    builder = plugins.load("models", name)
    for architecture in drawn(name, 2):
        network = builder(shape, 5, architecture=architecture, dropout=0.1, **SMALL[name])
        assert network(torch.randn(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("name", SPACES)
def test_networks_are_traced(name: str) -> None:
    network = plugins.load("models", name)((3, 8, 8), 5, architecture=drawn(name)[0], **SMALL[name]).eval()
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(fx.symbolic_trace(network)(x), network(x))


@pytest.mark.parametrize("name", SPACES)
def test_sizes_are_those_of_the_built_network(name: str) -> None:
    builder, options = plugins.load("models", name), {"architecture": drawn(name)[1], **SMALL[name]}
    found = size_of(builder, (3, 16, 16), 5, **options)
    network = builder((3, 16, 16), 5, **options)
    assert found.parameters == parameter_count(network) > 0
    assert found.multiply_adds == multiply_adds(network, (3, 16, 16)) > 0


@pytest.mark.parametrize("name", SPACES)
def test_neighbours_are_other_architectures_of_the_space(name: str) -> None:
    space, rng = space_of(name), np.random.default_rng(0)
    for config in space.sample(rng, 5):
        near = space.neighbours(config, rng, 8)
        assert near
        assert len({space.key(config), *(space.key(child) for child in near)}) == len(near) + 1
        for child in near:
            assert space.validate(child) == child


@pytest.mark.parametrize("name", SPACES)
def test_spaces_travel_to_other_processes_and_say_which_they_are(name: str) -> None:
    space = pickle.loads(pickle.dumps(space_of(name)))
    config = space.sample(np.random.default_rng(0), 1)[0]
    assert config["architecture.space"] == name
    assert space.key(config) == space_of(name).key(config)


@pytest.mark.parametrize("name", SPACES)
def test_a_network_refuses_the_architecture_of_another_space(name: str) -> None:
    with pytest.raises(SpaceError, match=f"use: {name}"):
        plugins.load("models", name)((3, 8, 8), 5, architecture={"space": "other"})


# -- DARTS -----------------------------------------------------------------------------------------------------------


def test_the_published_darts_network_has_its_published_size() -> None:
    architecture = darts.from_genotype(DARTS_V2)
    assert (
        size_of(DartsNetwork, (3, 32, 32), 10, architecture=architecture, width=36, depth=20).parameters
        == 3_349_342
    )


def test_a_genotype_leads_back_to_itself() -> None:
    for architecture in drawn("darts", 10):
        architecture.pop("space")
        assert darts.from_genotype(darts.to_genotype(architecture)) == architecture


def test_darts_has_a_trillion_million_cells() -> None:
    assert space_of("darts").size == (3 * 6 * 10 * 7**8) ** 2


def test_renumbered_darts_nodes_are_the_same_cell() -> None:
    def key(normal: list[tuple[str, int]]) -> object:
        nested = darts.from_genotype({**DARTS_V2, "normal": normal})
        return darts.canonical(
            {f"{cell}.{name}": v for cell, inner in nested.items() for name, v in inner.items()}
        )

    a, b = [("sep_conv_3x3", 0), ("skip_connect", 1)], [("max_pool_3x3", 0), ("dil_conv_5x5", 1)]
    reads_both = [("sep_conv_5x5", 2), ("skip_connect", 3)]
    swapped = [("skip_connect", 2), ("sep_conv_5x5", 3)]
    rest = [("avg_pool_3x3", 0), ("avg_pool_3x3", 4)]
    assert key([*a, *b, *reads_both, *rest]) == key([*b, *a, *swapped, *rest])
    assert key([*a, *b, *reads_both, *rest]) != key([*b, *a, *reads_both, *rest])


def test_a_node_with_one_input_twice_is_refused() -> None:
    with pytest.raises(SpaceError, match="node 3 of the normal cell reads 1\\+1"):
        darts.from_genotype(
            {**DARTS_V2, "normal": [*DARTS_V2["normal"][:2], ("skip_connect", 1), ("skip_connect", 1)]}
        )


# -- TransNAS --------------------------------------------------------------------------------------------------------


def test_stacks_are_as_many_as_in_the_benchmark() -> None:
    space = space_of("transnas_macro")
    counts = {4: 0, 5: 0, 6: 0}
    grid = space.grid(2)
    for k in range(len(grid)):
        config = grid[k]
        if config is not None:
            counts[config["architecture.modules"]] += 1
    assert counts == {4: 210, 5: 750, 6: 2_296}


@pytest.mark.parametrize("text", ["1_02_333", "0_00_000", "3_21_013"])
def test_a_cells_spelling_leads_back_to_it(text: str) -> None:
    assert transnas.cell_to_text(transnas.cell_from_text(text)) == text


@pytest.mark.parametrize("text", ["4111", "123431", "21314"])
def test_a_stacks_spelling_leads_back_to_it(text: str) -> None:
    assert transnas.stack_to_text(transnas.stack_from_text(text)) == text


@pytest.mark.parametrize("text", ["", "1_02", "1_02_334", "1_0_2333", "1_02_33x"])
def test_what_spells_no_cell_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="does not spell a cell"):
        transnas.cell_from_text(text)


@pytest.mark.parametrize("text", ["", "411", "4111111", "4511"])
def test_what_spells_no_stack_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="does not spell a stack"):
        transnas.stack_from_text(text)


def test_an_unconnected_cell_is_a_network_of_zeros() -> None:
    network = TransNasMicroNetwork((3, 16, 16), 5, architecture=transnas.cell_from_text("0_00_000"), width=4)
    outputs = network(torch.randn(3, 3, 16, 16))
    assert torch.equal(outputs, network[-1][-1].bias.expand(3, 5))


# -- elastic ---------------------------------------------------------------------------------------------------------


def test_blocks_of_a_stage_can_differ() -> None:
    space = space_of("elastic_mobilenet", stages=2, depth=3, blocks=True)
    config = space.sample(np.random.default_rng(1), 1)[0]
    architecture = nest(config)["architecture"]
    stages = elastic.mobile_blocks(architecture)
    assert [len(stage) for stage in stages] == [architecture["depth1"], architecture["depth2"]]
    assert stages[1][1] == (architecture["kernel2_2"], architecture["expansion2_2"])
    assert ("kernel1_3" in architecture) == (architecture["depth1"] == 3)


def test_a_resnets_stages_do_not_shrink() -> None:
    for architecture in drawn("elastic_resnet", 20):
        widths = [channels for _, channels in elastic.resnet_stages(architecture)]
        assert widths == sorted(widths)
        assert all(width % 8 == 0 for width in widths)


def test_elastic_architectures_are_spelt_in_a_line() -> None:
    resnet = {"depth1": 2, "width1": 16, "depth2": 1, "width2": 32}
    mobile = {"width": 1.25, "depth1": 2, "kernel1": 5, "expansion1": 4}
    assert elastic.resnet_to_text(resnet) == "2x16 1x32"
    assert elastic.mobile_to_text(mobile) == "x1.25 | 5e4 5e4"


def test_a_mobilenets_width_scales_its_channels() -> None:
    base = {"depth1": 2, "kernel1": 3, "expansion1": 3}
    sizes = [
        size_of(ElasticMobileNet, (3, 16, 16), 5, architecture={**base, "width": w}).parameters
        for w in (0.5, 1.0, 2.0)
    ]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("elastic_mobilenet", {"stages": 0}),
        ("elastic_mobilenet", {"depth": 1}),
        ("elastic_resnet", {"stages": 0}),
    ],
)
def test_a_space_without_stages_is_refused(name: str, options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="one stage"):
        space_of(name, **options)
