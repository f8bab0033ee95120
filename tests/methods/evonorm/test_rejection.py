"""Layers built to fail each check fail it, for the stated reason; good layers pass all."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

from autosearch.core import OptionError
from autosearch.learning import BatchStream, TorchLearner, build_optimizer
from autosearch.methods.evonorm.graph_layer import GraphFactory
from autosearch.methods.evonorm.graphs import PUBLISHED, Graph, published
from autosearch.methods.evonorm.rejection import (
    RejectedError,
    Rejection,
    check_quality,
    check_stability,
    check_static,
)

CLASSES = 4


def loss(model: nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def data() -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose class is where they are bright."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, CLASSES, (128,), generator=generator)
    images = 0.3 * torch.randn(128, 1, 4, 4, generator=generator)
    images[torch.arange(128), 0, labels] += 1.5
    return images, labels


def network(graph: Graph) -> nn.Module:
    torch.manual_seed(0)
    layer = GraphFactory(graph)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), layer(8), nn.Conv2d(8, 8, 3, padding=1), layer(8), nn.Flatten(),
        nn.Linear(128, CLASSES),
    )  # fmt: skip


def learner(graph: Graph) -> tuple[TorchLearner, Callable[[], float]]:
    images, labels = data()
    model = network(graph)
    batches = BatchStream(128, 32, lambda i, g: (images[i], labels[i]), seed=0)
    made = TorchLearner(model, batches, loss, build_optimizer(model, "nesterov", lr=0.1, momentum=0.9))

    def accuracy() -> float:
        return made.measure(lambda m: {"a": float((m(images).argmax(1) == labels).float().mean())})["a"]

    return made, accuracy


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_layers_pass_every_check(name: str) -> None:
    graph = published(name)
    check_static(graph)
    made, accuracy = learner(graph)
    check_quality(made, accuracy, CLASSES, Rejection(quality_steps=30))
    assert made.step == 30
    norms = check_stability(network(graph), loss, data(), Rejection(stability_steps=10))
    assert len(norms) == 11
    assert max(norms) < 1e5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tanh v1", "does not depend on the input"),
        ("neg x; add x n1; tanh n2", "constant"),
        ("mean_bwh x; std_whc zero", "does not depend on the input"),
        ("max x zero; neg n1; max n2 zero", "constant"),
        ("neg x", "only scales and shifts"),
        ("mul x v1; add n1 v1", "only scales and shifts"),
        ("mul x v0", "constant"),
        ("std_bwh x; tanh n1", "the same for every example"),
        ("exp x; exp n1; exp n2; exp n3; exp n4", "not finite"),
    ],
)
def test_layers_that_cannot_work_are_seen_without_training(text: str, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason) as caught:
        check_static(Graph.parse(text))
    assert caught.value.check == "static"


def test_an_affine_layer_passes_where_it_is_allowed() -> None:
    check_static(Graph.parse("mul x v1"), affine=True)


def test_a_layer_that_does_not_learn_is_of_no_quality() -> None:
    """Only the mean over space and channels passes: no network tells the classes from it."""
    made, accuracy = learner(Graph.parse("mean_whc x; tanh n1; mul x v0; add n2 n3"))
    with pytest.raises(RejectedError, match=r"accuracy 0.\d+ after 2 steps, below 1\.000"):
        check_quality(made, accuracy, CLASSES, Rejection(quality_steps=2, quality_factor=4.0))


def test_the_threshold_itself_is_good_enough() -> None:
    made, _ = learner(published("s0"))
    settings = Rejection(quality_steps=1)
    check_quality(made, lambda: 2 / CLASSES, CLASSES, settings)
    with pytest.raises(RejectedError):
        check_quality(made, lambda: 2 / CLASSES - 1e-9, CLASSES, settings)
    with pytest.raises(RejectedError):
        check_quality(made, lambda: float("nan"), CLASSES, settings)


def test_a_loss_that_is_not_finite_ends_the_check_of_quality_early() -> None:
    made, accuracy = learner(Graph.parse("square x; square n1; exp n2; mul n3 x"))
    with pytest.raises(RejectedError, match="not finite by step 10") as caught:
        check_quality(made, accuracy, CLASSES, Rejection())
    assert (caught.value.check, caught.value.step) == ("quality", 10)


def test_gradients_that_explode_are_unstable() -> None:
    graph = Graph.parse("square x; exp n1; mul n2 x")
    with pytest.raises(RejectedError, match="norm of the gradient") as caught:
        check_stability(network(graph), loss, data(), Rejection(stability_steps=50))
    assert caught.value.check == "stability"


def test_a_bound_on_the_norm_counts_at_every_step() -> None:
    norms = check_stability(network(published("s0")), loss, data(), Rejection(stability_steps=5))
    assert norms[-1] > norms[0]
    settings = Rejection(stability_steps=5, stability_norm=(norms[0] + norms[-1]) / 2)
    with pytest.raises(RejectedError):
        check_stability(network(published("s0")), loss, data(), settings)


def test_the_ascent_looks_at_the_first_examples_only() -> None:
    settings = Rejection(stability_steps=3, stability_batch=20)
    few = tuple(part[:20] for part in data())
    graph = published("s0")
    assert check_stability(network(graph), loss, data(), settings) == check_stability(
        network(graph), loss, few, Rejection(stability_steps=3, stability_batch=10**6)
    )


def test_the_ascent_leaves_running_statistics_alone() -> None:
    model = network(published("b0"))
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    check_stability(model, loss, data(), Rejection(stability_steps=2))
    assert before
    assert all(torch.equal(before[name], buffer) for name, buffer in model.named_buffers())


@pytest.mark.parametrize(
    "name",
    [
        "quality_steps",
        "stability_steps",
        "quality_factor",
        "stability_lr",
        "stability_norm",
        "stability_batch",
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(name: str) -> None:
    with pytest.raises(OptionError) as caught:
        Rejection(**{name: -1})
    assert caught.value.option == name
