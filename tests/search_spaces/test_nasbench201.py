import pickle

import numpy as np
import pytest

from autosearch.core.opening import resolve_space
from autosearch.space import SearchSpace, SpaceError
from search_spaces import nasbench201 as nb

FIRST = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
ELEMENTS = 5 * (16 * 32**2 + 32 * 16**2 + 64 * 8**2)  # outputs of one edge over the fifteen cells


def space(**options: str) -> SearchSpace:
    return resolve_space({"architecture": {"use": "nasbench201", **options}})


@pytest.fixture(scope="module")
def cells(nas_table: dict[str, np.ndarray]) -> list[dict[str, object]]:
    return [nb.decode(digits) for digits in nas_table["ops"]]


def test_the_first_architecture_of_the_benchmark_has_its_known_encodings() -> None:
    cell = nb.from_text(FIRST)
    assert nb.encode(cell) == (4, 2, 1, 2, 1, 1)
    assert nb.encode_naslib(cell) == (4, 3, 3, 0, 0, 0)
    assert nb.to_text(cell) == FIRST


def test_every_encoding_leads_back_to_the_cell() -> None:
    for k in range(0, 5**6, 7):
        cell = nb.decode([k // 5**i % 5 for i in range(6)])
        assert nb.decode_naslib(nb.encode_naslib(cell)) == cell
        assert nb.from_text(nb.to_text(cell)) == cell


@pytest.mark.parametrize(
    "text", ["", FIRST[:-1], FIRST.replace("avg", "max"), FIRST.replace("~0|+", "~1|+", 1)]
)
def test_a_text_that_spells_no_cell_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="nasbench201"):
        nb.from_text(text)


@pytest.mark.parametrize("digits", [[0] * 5, [0, 1, 2, 3, 4, 5], [-1, 0, 0, 0, 0, 0]])
def test_digits_that_encode_no_cell_are_refused(digits: list[int]) -> None:
    with pytest.raises(SpaceError, match="six digits"):
        nb.decode(digits)


def test_dead_edges_leave_the_canonical_cells_of_the_table(
    nas_table: dict[str, np.ndarray], cells: list[dict[str, object]]
) -> None:
    row = {tuple(digits): i for i, digits in enumerate(nas_table["ops"].tolist())}
    found = [row[nb.canonical(cell)] for cell in cells]
    assert found == nas_table["canon_index"].tolist()
    assert len(set(found)) == 9_445


def test_swapping_unconnected_inner_nodes_gives_an_isomorphic_cell() -> None:
    cell = nb.decode([2, 3, 0, 1, 4, 2])
    swapped = nb.decode([3, 2, 0, 1, 2, 4])
    assert nb.isomorphic(cell) == nb.isomorphic(swapped)
    assert nb.canonical(cell) != nb.canonical(swapped)
    assert nb.isomorphic(nb.decode([2, 3, 2, 1, 4, 2])) != nb.isomorphic(nb.decode([3, 2, 2, 1, 2, 4]))


def test_parameter_counts_equal_the_scored_ones_of_the_table(
    nas_table: dict[str, np.ndarray], cells: list[dict[str, object]]
) -> None:
    counts = np.array([nb.parameter_count(cell, (3, 32, 32), 10) for cell in cells])
    scored = nas_table["has_zc"] == 1
    assert np.abs(counts - nas_table["c10_params"] * 1e6)[scored].max() < 0.1
    # The benchmark's own column holds means over isomorphic cells in 204 rows: thirds of a weight.
    off = np.abs(counts - nas_table["c10_params_M"] * 1e6) > 1
    assert off.sum() == 204


def test_multiply_adds_equal_the_flops_of_the_table_without_its_elementwise_operations(
    nas_table: dict[str, np.ndarray], cells: list[dict[str, object]]
) -> None:
    scored = np.flatnonzero(nas_table["has_zc"] == 1)
    digits = nas_table["ops"][scored]
    convolutions = ((digits == 2) | (digits == 3)).sum(axis=1)
    # The table adds 2 for each normalised and 1 for each activated element, 9 for each pooled one.
    elementwise = ELEMENTS * (3 * convolutions + 9 * (digits == 4).sum(axis=1))
    counts = np.array([nb.multiply_adds(cells[i], (3, 32, 32), 10) for i in scored])
    rest = nas_table["c10_flops"][scored] * 1e6 - counts - elementwise
    assert np.abs(rest - rest[0]).max() < 100  # stem, reductions and head, up to the table's seven digits


def test_equal_cells_share_a_key_and_neighbours_are_other_functions() -> None:
    found = space()
    rng = np.random.default_rng(0)
    for config in found.sample(rng, 20):
        near = found.neighbours(config, rng, 24)
        keys = {found.key(config), *(found.key(child) for child in near)}
        assert len(keys) == len(near) + 1
        assert all(sum(child[name] != config[name] for name in found.searched) == 1 for child in near)


def test_merge_decides_what_counts_as_the_same() -> None:
    dead = {"architecture.space": "nasbench201"} | {f"architecture.{edge}": "none" for edge in nb.EDGES}
    other = {**dead, "architecture.edge01": "nor_conv_3x3"}
    assert space().key(dead) == space().key(other)
    assert space(merge="nothing").key(dead) != space(merge="nothing").key(other)


def test_the_space_travels_to_other_processes() -> None:
    found = pickle.loads(pickle.dumps(space()))
    assert found == space()
    assert found.size == 15_625
